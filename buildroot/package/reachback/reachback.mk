################################################################################
#
# reachback
#
################################################################################

REACHBACK_VERSION = 0.1.0
REACHBACK_SITE = $(call github,reachback,reachback,v$(REACHBACK_VERSION))
REACHBACK_LICENSE = MIT or Apache-2.0
REACHBACK_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

# The infrastructure sets the release profile by environment, which beats
# Cargo.toml; without this the program is nearly twice as large.
REACHBACK_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1"

# The first flag is the infrastructure's, which these replace. By itself, the
# crate aes takes ARMv7 for a machine of 64 bits and unrolls its rounds.
ifeq ($(BR2_arm),y)
REACHBACK_RUSTFLAGS = \
	-Clink-arg=-Wl,--allow-multiple-definition \
	--cfg aes_backend_soft="compact" \
	--cfg cpubits="32"
endif

# Rust takes no notice of Thumb by itself; with it, the program is a sixth
# smaller.
ifeq ($(BR2_ARM_INSTRUCTIONS_THUMB2),y)
REACHBACK_RUSTFLAGS += -Ctarget-feature=+thumb-mode
endif

REACHBACK_RUST_SRC = $(call qstrip,$(BR2_PACKAGE_REACHBACK_RUST_SRC))
ifneq ($(REACHBACK_RUST_SRC),)

# Of an unpacked archive of rust-src, or of Rust's source tree.
REACHBACK_RUST_LIBRARY = $(firstword $(wildcard \
	$(REACHBACK_RUST_SRC)/rust-src/lib/rustlib/src/rust/library \
	$(REACHBACK_RUST_SRC)/library))

# A panic ends the process: nobody unwinds, and nobody prints.
REACHBACK_RUSTFLAGS += \
	-Zunstable-options \
	-Zfmt-debug=none \
	-Cforce-unwind-tables=no \
	-Cpanic=immediate-abort
REACHBACK_CARGO_ENV += RUSTC_BOOTSTRAP=1

# A panic logs an address: addr2line reads it with the program in the build
# directory. The installed one is stripped with the rest of the target.
REACHBACK_CARGO_ENV += \
	CARGO_PROFILE_RELEASE_DEBUG="line-tables-only" \
	CARGO_PROFILE_RELEASE_STRIP="none"

REACHBACK_CARGO_BUILD_OPTS = \
	-Zbuild-std=std,panic_abort \
	-Zbuild-std-features=optimize_for_size
REACHBACK_CARGO_INSTALL_OPTS = $(REACHBACK_CARGO_BUILD_OPTS)

define REACHBACK_CHECK_RUST_SRC
	@wanted=`$(HOST_DIR)/bin/rustc --version | cut -d ' ' -f 2`; \
	found=`cat $(REACHBACK_RUST_SRC)/version \
		$(REACHBACK_RUST_SRC)/src/version 2>/dev/null | \
		sed 's/ .*//;q' | grep . || echo none`; \
	test "$$found" = "$$wanted" && test -n "$(REACHBACK_RUST_LIBRARY)" || { \
		echo "BR2_PACKAGE_REACHBACK_RUST_SRC: wanted is the source" \
			"of Rust $$wanted's library, and $(REACHBACK_RUST_SRC)" \
			"has $$found" >&2; \
		exit 1; \
	}
endef

# Cargo looks for the library beside the compiler, and for the library's own
# crates where the package's are.
define REACHBACK_LINK_RUST_SRC
	mkdir -p $(HOST_DIR)/lib/rustlib/src
	ln -sfn $(patsubst %/library,%,$(REACHBACK_RUST_LIBRARY)) \
		$(HOST_DIR)/lib/rustlib/src/rust
	@test ! -d $(@D)/VENDOR || test -d $(REACHBACK_RUST_LIBRARY)/vendor || { \
		echo "BR2_PACKAGE_REACHBACK_RUST_SRC: no crates beside the" \
			"library; run: cd $(REACHBACK_RUST_LIBRARY) &&" \
			"cargo vendor --locked --versioned-dirs" >&2; \
		exit 1; \
	}
	test ! -d $(@D)/VENDOR || \
		for crate in $(REACHBACK_RUST_LIBRARY)/vendor/*; do \
			ln -sfn $$crate $(@D)/VENDOR/std-$$(basename $$crate) || exit 1; \
		done
endef
REACHBACK_PRE_CONFIGURE_HOOKS += \
	REACHBACK_CHECK_RUST_SRC \
	REACHBACK_LINK_RUST_SRC

endif # REACHBACK_RUST_SRC

ifneq ($(REACHBACK_RUSTFLAGS),)
REACHBACK_CARGO_ENV += \
	CARGO_TARGET_$(call UPPERCASE,$(RUSTC_TARGET_NAME))_RUSTFLAGS='$(REACHBACK_RUSTFLAGS)'
endif

REACHBACK_SCRIPTS_DIR = $(call qstrip,$(BR2_PACKAGE_REACHBACK_SCRIPTS_DIR))
REACHBACK_USER = $(call qstrip,$(BR2_PACKAGE_REACHBACK_USER))
REACHBACK_CONFIG_FILE = $(call qstrip,$(BR2_PACKAGE_REACHBACK_CONFIG_FILE))
REACHBACK_KNOWN_HOSTS_FILE = \
	$(call qstrip,$(BR2_PACKAGE_REACHBACK_KNOWN_HOSTS_FILE))

# $(1): which lines of files.list to install, by their last field. The program
# itself is installed by cargo.
define REACHBACK_INSTALL_LISTED
	grep '^packaging/.* $(1)$$' $(@D)/packaging/files.list \
		>$(@D)/files.$(1)
	sed 's|@SCRIPTS@|$(REACHBACK_SCRIPTS_DIR)|' $(@D)/files.$(1) | \
	while read -r source destination mode when; do \
		$(INSTALL) -D -m $$mode $(@D)/$$source \
			$(TARGET_DIR)$$destination || exit 1; \
	done
endef

define REACHBACK_INSTALL_ALWAYS
	$(call REACHBACK_INSTALL_LISTED,always)
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_ALWAYS

ifeq ($(BR2_PACKAGE_REACHBACK_SCRIPTS),y)
define REACHBACK_INSTALL_SCRIPTS
	$(call REACHBACK_INSTALL_LISTED,scripts)
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_SCRIPTS
endif

ifneq ($(REACHBACK_CONFIG_FILE),)
define REACHBACK_INSTALL_CONFIG_FILE
	$(INSTALL) -D -m 0644 $(REACHBACK_CONFIG_FILE) \
		$(TARGET_DIR)/etc/reachback/config
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_CONFIG_FILE
endif

# $(1): a line for the configuration. The first value counts, as in
# ssh_config(5): so it goes to the top, and before any Host block.
define REACHBACK_CONFIGURE
	echo '$(1)' | \
		cat - $(TARGET_DIR)/etc/reachback/config >$(@D)/config.with
	$(INSTALL) -m 0644 $(@D)/config.with \
		$(TARGET_DIR)/etc/reachback/config
endef

ifneq ($(REACHBACK_KNOWN_HOSTS_FILE),)
define REACHBACK_INSTALL_KNOWN_HOSTS
	$(INSTALL) -D -m 0644 $(REACHBACK_KNOWN_HOSTS_FILE) \
		$(TARGET_DIR)/etc/reachback/known_hosts
	$(call REACHBACK_CONFIGURE,UserKnownHostsFile /etc/reachback/known_hosts)
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_KNOWN_HOSTS
endif

ifneq ($(REACHBACK_USER),)
define REACHBACK_INSTALL_USER
	$(call REACHBACK_CONFIGURE,RunAsUser $(REACHBACK_USER))
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_USER
endif

ifeq ($(REACHBACK_USER),reachback)
define REACHBACK_USERS
	reachback -1 reachback -1 * /var/lib/reachback - - SSH reverse forwards
endef
endif

ifeq ($(BR2_PACKAGE_REACHBACK_SSH_SYMLINK),y)
define REACHBACK_INSTALL_SSH_SYMLINKS
	ln -sf reachback $(TARGET_DIR)/usr/bin/ssh
	ln -sf reachback $(TARGET_DIR)/usr/bin/dbclient
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_SSH_SYMLINKS
endif

ifeq ($(BR2_PACKAGE_REACHBACK_INIT),y)

define REACHBACK_INSTALL_DEFAULT
	$(call REACHBACK_INSTALL_LISTED,init)
	$(SED) '/^REACHBACK_/d' $(TARGET_DIR)/etc/default/reachback
	printf "REACHBACK_ARGS='%s'\n" \
		"$(call qstrip,$(BR2_PACKAGE_REACHBACK_ARGS))" \
		>>$(TARGET_DIR)/etc/default/reachback
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_DEFAULT

define REACHBACK_INSTALL_INIT_SYSV
	$(call REACHBACK_INSTALL_LISTED,sysv)
endef

define REACHBACK_INSTALL_INIT_SYSTEMD
	$(call REACHBACK_INSTALL_LISTED,systemd)
endef

endif # BR2_PACKAGE_REACHBACK_INIT

$(eval $(cargo-package))
