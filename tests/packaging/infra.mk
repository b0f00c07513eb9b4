# As much of Buildroot's package infrastructure as the package's .mk uses, so that its own
# commands can be run without Buildroot: `make -f infra.mk TOP=... TARGET_DIR=... BUILD_DIR=...
# install` (HOST_DIR=... configure), with Kconfig symbols as variables.
INSTALL = install
SED = sed -i -e
qstrip = $(strip $(subst ",,$(1)))
UPPERCASE = $(shell echo '$(1)' | tr a-z- A-Z_)
github = https://github.example/$(1)/$(2)/archive/$(3)
cargo-package =

# EXTERNAL: through the external tree, with the local source, instead of the package alone.
ifneq ($(EXTERNAL),)
BR2_EXTERNAL_REACHBACK_PATH = $(EXTERNAL)
include $(EXTERNAL)/external.mk
else
include $(TOP)/buildroot/package/reachback/reachback.mk
endif

install: $(BUILD_DIR)/.stamp_target_installed
configure: $(BUILD_DIR)/.stamp_configured

# $(@D) is the build directory in the package's commands.
$(BUILD_DIR)/.stamp_target_installed:
	$(foreach hook,$(REACHBACK_POST_INSTALL_TARGET_HOOKS),$(call $(hook))$(newline))
	$(if $(BR2_INIT_SYSTEMD),$(REACHBACK_INSTALL_INIT_SYSTEMD),$(if $(BR2_INIT_SYSV),$(REACHBACK_INSTALL_INIT_SYSV)))

$(BUILD_DIR)/.stamp_configured:
	$(foreach hook,$(REACHBACK_PRE_CONFIGURE_HOOKS),$(call $(hook))$(newline))

# The values of the package's variables, one a line.
show:
	$(foreach variable,$(sort $(filter REACHBACK_%,$(.VARIABLES))),$(info $(variable)=$(subst $(newline), ; ,$($(variable)))))

define newline


endef

.PHONY: install configure show $(BUILD_DIR)/.stamp_target_installed $(BUILD_DIR)/.stamp_configured
