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
	CARGO_PROFILE_RELEASE_OPT_LEVEL="s" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1"

# The program itself is installed by cargo; the list has the files beside it.
define REACHBACK_INSTALL_FILES
	grep '^packaging/' $(@D)/packaging/files.list | \
	while read -r source destination mode; do \
		$(INSTALL) -D -m $$mode $(@D)/$$source \
			$(TARGET_DIR)$$destination || exit 1; \
	done
endef
REACHBACK_POST_INSTALL_TARGET_HOOKS += REACHBACK_INSTALL_FILES

$(eval $(cargo-package))
