# Rules for PTX that is kept in the repository, so that nobody needs a toolkit: each NAME.ptx lies beside the NAME.cu that it was
# built from, and says so. A Makefile sets PTX to the files and includes this.
#
#   make ptx              builds all of them
#   make ptx-if-changed   those whose source has changed, where there is nvcc
#   make check-ptx        whether each is what its source gives; without nvcc, whether it says so
#
# By what a PTX says it was built from, and not by times: a checkout gives its files times in no order, and another nvcc writes
# another text.
#
# The driver compiles PTX for the device at hand. nvcc writes the version of its own PTX into the file, and older drivers refuse
# that. The kernels need none so new: 6.3 is the first that knows sm_75, it is written instead, and ptxas says whether that is
# right, for the oldest GPU and a newer one.

NVCC ?= nvcc
PTXAS ?= ptxas
NVCC_FOUND := $(shell command -v $(NVCC))
SHA256 := $(shell command -v sha256sum || echo shasum -a 256)
LOWER_VERSION := 's/^\.version .*/.version 6.3/'

# $(1): the name. The hash of its source, and whether that is the one that its PTX names.
source_hash = $$($(SHA256) $(1).cu | cut -c 1-64)
source_is_built = grep -q "^//   $(call source_hash,$(1))$$" $(1).ptx

define build_ptx
made=$(1).ptx.$$$$ && \
$(NVCC) -arch=compute_75 -ptx -o $$made.body $(1).cu && { \
  echo '// $(1).ptx: what `make ptx` has built from $(1).cu, of sha256'; \
  echo "//   $(call source_hash,$(1))"; \
  echo '// by'; \
  echo '//   nvcc -arch=compute_75 -ptx -o $(1).ptx $(1).cu'; \
  echo "//   sed -i '"$(LOWER_VERSION)"' $(1).ptx"; \
  sed $(LOWER_VERSION) $$made.body; \
} > $$made && rm $$made.body && \
$(PTXAS) -arch=sm_75 -o /dev/null $$made && $(PTXAS) -arch=sm_90 -o /dev/null $$made
endef

names := $(PTX:.ptx=)

ptx: $(names:%=ptx-of-%)
ptx-if-changed: $(names:%=changed-ptx-of-%)
check-ptx: $(names:%=check-ptx-of-%)

$(names:%=ptx-of-%): ptx-of-%:
	$(call build_ptx,$*) && mv $$made $*.ptx

$(names:%=changed-ptx-of-%): changed-ptx-of-%:
ifneq ($(NVCC_FOUND),)
	@$(call source_is_built,$*) || $(MAKE) ptx-of-$*
endif

# Another release of nvcc gives another text from the same source, so that only the one that built the PTX can compare.
$(names:%=check-ptx-of-%): check-ptx-of-%:
	@$(call source_is_built,$*) || { echo '$*.ptx was built from another $*.cu: run `make ptx`' >&2; exit 1; }
ifneq ($(NVCC_FOUND),)
	@$(call build_ptx,$*) && \
	if [ "$$(grep -m 1 'Cuda compilation tools' $$made)" = "$$(grep -m 1 'Cuda compilation tools' $*.ptx)" ]; \
	then cmp $$made $*.ptx && echo '$*.ptx is what its source gives'; \
	else echo 'another nvcc than this one built $*.ptx; it was not compared'; \
	fi; status=$$?; rm -f $$made; exit $$status
else
	@echo 'there is no nvcc; $*.ptx was not compared'
endif

.PHONY: ptx ptx-if-changed check-ptx $(names:%=ptx-of-%) $(names:%=changed-ptx-of-%) $(names:%=check-ptx-of-%)
