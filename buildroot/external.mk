################################################################################
#
# Builds reachback from this source tree instead of a released archive.
#
# package/reachback/ is kept as it would be in Buildroot itself; what a local
# source needs besides stands here, before it is included.
#
################################################################################

REACHBACK_OVERRIDE_SRCDIR ?= $(realpath $(BR2_EXTERNAL_REACHBACK_PATH)/..)
REACHBACK_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude /target --exclude /build --exclude /buildroot --exclude /fuzz/target

# A released archive gets its crates vendored when it is downloaded. A source
# directory is not downloaded, and the build itself is offline, so the crates
# are fetched here, into the cargo home that all packages share.
define REACHBACK_FETCH_CRATES
	mkdir -p $(BR_CARGO_HOME)
	cd $(@D) && \
		$(TARGET_MAKE_ENV) $(PKG_CARGO_ENV) \
		flock $(BR_CARGO_HOME)/.reachback-fetch.lock \
		cargo fetch --locked --target $(RUSTC_TARGET_NAME)
endef
REACHBACK_PRE_CONFIGURE_HOOKS += REACHBACK_FETCH_CRATES

include $(sort $(wildcard $(BR2_EXTERNAL_REACHBACK_PATH)/package/*/*.mk))
