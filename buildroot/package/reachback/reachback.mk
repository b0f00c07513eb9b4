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

# Rust takes no notice of Thumb by itself; with it, the program is a sixth
# smaller. The first flag is the infrastructure's, which this one replaces.
ifeq ($(BR2_ARM_INSTRUCTIONS_THUMB2),y)
REACHBACK_CARGO_ENV += \
	CARGO_TARGET_$(call UPPERCASE,$(RUSTC_TARGET_NAME))_RUSTFLAGS="-Clink-arg=-Wl,--allow-multiple-definition -Ctarget-feature=+thumb-mode"
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
