# The classroom (dev/class/README.md): make class, class N=03, class-check, class-train, plain

GRADER = build/class/grade_float build/class/grade_double
build/class/grade_%: dev/class/grade.c dev/class/scenarios.c $(SOURCE) build/flags
	@mkdir -p build/class
	$(CC) $(FLAGS) -O1 -Wno-unused-function -DREAL=$* -o $@ $< -lm -ldl

.PHONY: class class-check class-train class-witness plain
class: $(GRADER)
	@CC="$(CC)" SEED="$(SEED)" build/class/grade_float $(if $(HINT),hint $(N),$(if $(filter all,$(N)),all $(JSON),$(N))) \
	    $(if $(filter all,$(N)),,|| true)               # a wrong answer is no error of make's
class-check: $(GRADER) train_olmo
	@CC="$(CC)" SEED="$(SEED)" SEEDS="$(SEEDS)" build/class/grade_float check $(N)
build/class/witness: $(GRADER)
	@ln -sf grade_float $@
class-witness: $(GRADER)
	@CC="$(CC)" build/class/grade_float witness

plain: dev/class/plain.c data/stories.txt
	@mkdir -p build/class
	$(CC) -O2 -Wall -Wextra -o build/class/plain $< -lm
	build/class/plain data/stories.txt

# train_olmo.c as a library whose functions can be replaced by those of another: -fsemantic-interposition keeps the compiler
# from calling ours directly. The second one differs in the order of its sums alone: what rounding does to a curve.
build/class/libolmo.so: $(SOURCE) build/flags
	@mkdir -p build/class
	$(CC) $(FLAGS) -fPIC -fsemantic-interposition -shared -o $@ $< -lm -ldl $(ICU)
build/class/train: build/class/libolmo.so
	$(CC) -o $@ -Wl,--no-as-needed,-rpath,'$$ORIGIN' $< -lm
build/class/train_sse: $(SOURCE) build/flags
	$(CC) $(FLAGS) -march=x86-64 -o $@ $< -lm -ldl $(ICU)
class-train: $(GRADER) build/class/train build/class/train_sse $(CORPUS)
	@CC="$(CC)" build/class/grade_float train

# Planted bugs (dev/class/bugs.c holds the answers)
.PHONY: bug bug-check
build/class/bugs: dev/class/bugs.c $(SOURCE) build/flags
	@mkdir -p build/class
	$(CC) $(FLAGS) -O1 -Wno-unused-function -o $@ $< -lm
BUGS = CLASS_CC="$(CC) $(filter-out -std=c11 -Wall -Wextra,$(FLAGS))" build/class/bugs
bug: build/class/bugs train_olmo
	@$(BUGS) $(if $(CHECK),$(N) line $(CHECK),$(if $(WITNESS),$(N) witness $(WITNESS),$(N)))
bug-check: build/class/bugs
	@$(BUGS) check

# A look inside a model: dev/class/look --load DIR --prompt TEXT --html FILE
.PHONY: look
look: dev/class/look
dev/class/look: dev/class/look.c $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl $(ICU)

# The ladder of the CPU's matrix product
.PHONY: ladder-cpu
build/class/gemm_cpu: dev/class/kernels/gemm_cpu.c $(SOURCE) build/flags
	@mkdir -p build/class
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl
ladder-cpu: build/class/gemm_cpu
	@build/class/gemm_cpu

# The kernel ladders, where CUDA's compiler is
.PHONY: ladders
ladders: dev/class/kernels/ladders
dev/class/kernels/ladders: dev/class/kernels/ladder.cu $(wildcard dev/class/kernels/*.cu) train_olmo.cu $(SOURCE) build/flags
	@[ "$(NVCC_AT)" ] || { echo "error: $@ needs CUDA's compiler, nvcc, which is not installed here"; exit 1; }
	$(NVCC) $(GPU_FLAGS) -o $@ $< $(GPU_LIBS) $(ICU) $(ZLIB)
