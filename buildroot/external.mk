################################################################################
#
# Builds reachback from this source tree instead of a released archive.
#
# package/reachback/ is kept as it would be in Buildroot itself; what a local
# source needs besides stands here.
#
################################################################################

REACHBACK_OVERRIDE_SRCDIR ?= $(realpath $(BR2_EXTERNAL_REACHBACK_PATH)/..)
REACHBACK_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude /target --exclude /build --exclude /buildroot --exclude /fuzz/target

include $(sort $(wildcard $(BR2_EXTERNAL_REACHBACK_PATH)/package/*/*.mk))

# A released archive gets its crates vendored when it is downloaded. A source
# directory is not downloaded, and the build itself is offline, so the crates
# are fetched here, into the cargo home that all packages share. With the
# standard library from source, after the package has checked that: the
# library's crates as well, and, as cargo then wants them, the host's.
REACHBACK_FETCH_MANIFESTS = \
	Cargo.toml $(addsuffix /Cargo.toml,$(REACHBACK_RUST_LIBRARY))
REACHBACK_FETCH_TARGETS = \
	$(RUSTC_TARGET_NAME) $(if $(REACHBACK_RUST_LIBRARY),$(RUSTC_HOST_NAME))
define REACHBACK_FETCH_CRATES
	mkdir -p $(BR_CARGO_HOME)
	cd $(@D) && \
		$(TARGET_MAKE_ENV) $(PKG_CARGO_ENV) \
		flock $(BR_CARGO_HOME)/.reachback-fetch.lock \
		sh -ec '$(foreach manifest,$(REACHBACK_FETCH_MANIFESTS), \
			cargo fetch --locked --manifest-path $(manifest) \
				$(addprefix --target ,$(REACHBACK_FETCH_TARGETS));)'
endef
REACHBACK_PRE_CONFIGURE_HOOKS += REACHBACK_FETCH_CRATES
