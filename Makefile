# make train_olmo && ./train_olmo      the default run          make test     every test; the exit code is the verdict
# make train_olmo_cu                   the same on a GPU        make test-gpu    its tests, where there is one
# make test-gpu-on-cpu                 the GPU's kernels, where there is none: dev/cuda_on_cpu
# make bench                           how fast, and why        make bench-gpu  the same of the GPU's program
# make eval                            perplexity, questions with choices: dev/eval/README.md
# make data                            the data room: tokenize, curate, stats (its libraries: data/README.md)
#
# make chat                            fine-tuning that proves itself, and a chat
# make class                           the exercises (dev/class/README.md)               make clean
#
# CC=clang works as well. OPENMP= builds without OpenMP; ARCH= for a program that runs on machines other than this one.

CC     ?= cc
OPENMP ?= $(shell echo 'int main(void){return 0;}' | $(CC) -fopenmp -xc - -o /dev/null 2>/dev/null && echo -fopenmp)
ARCH   ?= -march=native
CFLAGS ?= -O3 $(ARCH)
THREADS = $(if $(filter -fopenmp,$(OPENMP)),-fopenmp,-fopenmp-simd -Wno-unknown-pragmas)
FLAGS   = -std=c11 -pthread -Wall -Wextra -ffp-contract=fast -fno-math-errno $(THREADS) $(CFLAGS)
SOURCE  = train_olmo.c data/tokenizer.c data/chat.c data/requests.c data/ranks.c data/reference.c data/evaluators.c data/energy.c Makefile
CORPUS  = data/stories.txt data/stories_val.txt
CHECKS  = data/test/chat.c data/test/check.c data/test/clock.c

# Unicode for the tokenizer, where ICU is installed; `make data` needs it, and the rest.
ICU     = $(shell pkg-config --exists icu-uc 2>/dev/null && pkg-config --cflags --libs icu-uc | sed 's/^/-DICU /')
ZLIB    = $(shell pkg-config --exists zlib 2>/dev/null && pkg-config --cflags --libs zlib | sed 's/^/-DZLIB /')
LIBS    = icu-uc jansson libpcre2-8 libxxhash libzstd simdjson zlib
DATA    = data/tokenize data/curate data/stats

.PHONY: all test test-gpu test-gpu-on-cpu bench bench-gpu chat data eval eval_cu clean always
all: train_olmo $(GPU)
	@[ "$(GPU)" ] || echo "skipped: the programs for a GPU; nvcc is not installed here"

# Other flags, another compiler, a library that was installed meanwhile: what they go into is built again. The stamp holds
# all of them, and is written only when they have changed.
STAMP   = $(shell $(CC) --version 2>/dev/null | head -n 1) $(CXX) $(FLAGS) $(ICU) $(ZLIB) $(CLD2) $(if $(NVCC_AT),$(NVCC_AT) $(GPU_ARCH) $(NVTX) $(GPU_LIBS)) $(shell pkg-config --modversion $(LIBS) 2>&1 | tr '\n' ' ')
build/flags: always
	@mkdir -p build; stamp='$(subst ','\'',$(STAMP))'; echo "$$stamp" | cmp -s - $@ || echo "$$stamp" > $@

train_olmo: $(SOURCE) $(CORPUS) build/flags
	$(CC) $(FLAGS) -o $@ $< -lm -ldl $(ICU) $(ZLIB)

data/stories: data/stories.c build/flags
	$(CC) -O2 -std=c11 -Wall -Wextra $(CFLAGS) -o $@ $< -lm

data/stories.txt: data/stories
	data/stories
data/stories_val.txt: data/stories.txt ;

# The GPU's two programs and their tests, where CUDA's compiler is: machine code for each of GPU_ARCH, and PTX, which newer
# cards translate for themselves. GPU_ARCH=90a builds sooner, for an H100 or H200 alone. (Their attention is code for 90a, not 90.)
NVCC     ?= nvcc
GPU_ARCH ?= 80 86 89 90a
NVCC_AT   = $(shell command -v $(firstword $(NVCC)) 2>/dev/null)
CARD      = $(if $(NVCC_AT),$(shell nvidia-smi -L 2>/dev/null | grep GPU))
GPU       = $(if $(NVCC_AT),train_olmo_cu train_olmo_cu_fp32)
GPU_TESTS = $(if $(CARD),test_olmo_cu test_olmo_cu_fp32)
GPU_FLAGS = -std=c++17 -O3 --threads 0 -diag-suppress 177 -x cu $(if $(NVTX),-DNVTX) \
            $(foreach a,$(GPU_ARCH),-gencode arch=compute_$a,code=sm_$a) -gencode arch=compute_80,code=compute_80 \
            -Xcompiler -Wall,-Wextra,-Wno-unused-function,-fno-math-errno,$(OPENMP),$(ARCH)
GPU_LIBS  = -lcublasLt -Xlinker -rpath,$(realpath $(dir $(realpath $(NVCC_AT)))../lib64)

# NCCL, by which several cards talk, where it is: NVIDIA's or Debian's libnccl-dev, or what pip brings for PyTorch.
# (NCCL= builds without it.)
NCCL     ?= $(shell if [ -e /usr/include/nccl.h ] && echo 'int main(void){return 0;}' | $(CC) -xc - -lnccl -o /dev/null 2>/dev/null; \
            then echo -lnccl; else python3 -c 'import nvidia.nccl as n; \
            at = list(n.__path__)[0]; open(at + "/include/nccl.h"); \
            print(f"-I{at}/include -L{at}/lib -l:libnccl.so.2 -Xlinker -rpath,{at}/lib")' 2>/dev/null; fi)
GPU_LIBS += $(if $(NCCL),-DNCCL $(NCCL))

train_olmo_cu train_olmo_cu_fp32 test_olmo_cu test_olmo_cu_fp32: train_olmo.cu test_olmo.c $(CHECKS) $(SOURCE) $(CORPUS) build/flags
	@[ "$(NVCC_AT)" ] || { echo "error: $@ needs CUDA's compiler, nvcc, which is not installed here"; exit 1; }
	$(NVCC) $(GPU_FLAGS) $(if $(findstring fp32,$@),-DFP32) -o $@ $(if $(findstring test,$@),test_olmo.c,$<) $(GPU_LIBS) $(ICU) $(ZLIB)

test-gpu: $(if $(CARD),test_olmo_cu test_olmo_cu_fp32)
	@[ "$(NVCC_AT)" ] || { echo "error: the tests on a GPU need CUDA's compiler, nvcc, which is not installed here"; exit 1; }
	@[ "$(CARD)" ] || { echo "error: the tests on a GPU need one; nvidia-smi -L finds no card of NVIDIA's here"; exit 1; }
	./test_olmo_cu ./test_olmo_cu_fp32

# The same kernels without a card and without nvcc: each thread of a block becomes a fiber. -g: for a debugger; -DNCCL: a stand-in
# for that, too.
ON_CPU_FLAGS = -std=c++17 -O1 -g $(ARCH) -ffp-contract=fast -fno-strict-aliasing -Wall -Wextra -Wno-unused -Wno-unused-parameter -Wno-sign-compare \
               -Wno-unknown-pragmas $(filter -fopenmp,$(OPENMP)) -DNCCL -I. -Idev/cuda_on_cpu
test_olmo_on_cpu test_olmo_on_cpu_fp32: $(wildcard dev/cuda_on_cpu/*) train_olmo.cu test_olmo.c $(CHECKS) $(SOURCE) build/flags
	$(CXX) $(ON_CPU_FLAGS) $(if $(findstring fp32,$@),-DFP32) -DPROGRAM='"test_olmo.c"' -o $@ dev/cuda_on_cpu/on_cpu.cc -lm -ldl
test-gpu-on-cpu: test_olmo_on_cpu test_olmo_on_cpu_fp32
	./test_olmo_on_cpu ./test_olmo_on_cpu_fp32

# The same tests twice: in float, and in double, where finite differences can see every gradient.
test_olmo: test_olmo.c $(CHECKS) $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl $(ICU) $(ZLIB)
test_olmo_double: test_olmo.c $(CHECKS) $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -DREAL=double -o $@ $< -lm -ldl $(ICU) $(ZLIB)

# ... and those of the data room, where its libraries are installed.
DATA_TESTS = $(shell pkg-config --exists $(LIBS) 2>/dev/null && echo data/test/test_data)
test: train_olmo test_olmo test_olmo_double dev/eval/eval dev/eval/test_eval build/class/witness $(GPU_TESTS) $(DATA_TESTS:%=% $(DATA))
	@[ "$(DATA_TESTS)" ] || echo "skipped: the tests of data/; its libraries are not installed here (data/README.md)"
	@[ "$(GPU_TESTS)" ] || echo "skipped: the tests on a GPU (make test-gpu); here is no card, or no nvcc"
	./test_olmo $(GPU_TESTS:%=./%) dev/eval/test_eval build/class/witness $(DATA_TESTS)

# Evaluation: one program, and the same on a GPU.
EVAL    = $(wildcard dev/eval/*.c) data/whole.c $(CHECKS) $(SOURCE) build/flags
eval: dev/eval/eval
eval_cu: dev/eval/eval_cu
dev/eval/eval dev/eval/test_eval: %: %.c $(EVAL)
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl $(ICU) $(ZLIB)
dev/eval/eval_cu: dev/eval/eval.c train_olmo.cu $(EVAL)
	@[ "$(NVCC_AT)" ] || { echo "error: $@ needs CUDA's compiler, nvcc, which is not installed here"; exit 1; }
	$(NVCC) $(GPU_FLAGS) -o $@ $< $(GPU_LIBS) $(ICU) $(ZLIB)

# A base, conversations about its stories, preferred answers, and a chat: each once, in build/chat. (The recipes are those of OLMo-7B,
# the rates those of a model 25,000 times smaller.)
chat: train_olmo dev/answers data/stories_pairs.jsonl
	[ -e build/chat/base/step3500 ] || ./train_olmo --out build/chat/base
	[ -e build/chat/sft/step750 ] || ./train_olmo --load build/chat/base/latest --data data/stories_chat.jsonl \
	    --val data/stories_chat_val.jsonl --lr 3e-3 --batch 32 --micro-batch 8 --epochs 1 --eval-every 150 --out build/chat/sft
	dev/answers --threads 1 --load build/chat/sft/latest data/stories_pairs_val.jsonl
	[ -e build/chat/dpo/step110 ] || ./train_olmo --load build/chat/sft/latest --dpo data/stories_pairs.jsonl \
	    --val data/stories_pairs_val.jsonl --dpo-beta 0.5 --lr 2e-5 --batch 16 --micro-batch 8 --steps 110 --eval-every 20 --out build/chat/dpo
	dev/answers --threads 1 --load build/chat/dpo/latest data/stories_pairs_val.jsonl
	@echo; head -n 1 data/stories_pairs_val.jsonl | sed 's/.*"user", "content": "\([^"]*\)".*/You may ask: \1/'
	./train_olmo --load build/chat/dpo/latest --chat --temperature 0
data/stories_pairs.jsonl: data/stories
	data/stories --chat
dev/answers: dev/answers.c $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl $(ICU)

bench: train_olmo dev/bench/bench
	dev/bench/bench
# ... and of the GPU's program, beside PyTorch where that is installed.
bench-gpu: dev/bench/bench_gpu
	dev/bench/bench_gpu
	@python3 -c 'import torch, transformers' 2>/dev/null && python3 dev/bench/step_gpu.py || echo "skipped: PyTorch is not installed here"
dev/bench/bench_gpu: dev/bench/bench.cu train_olmo.cu $(SOURCE) build/flags
	@[ "$(NVCC_AT)" ] || { echo "error: $@ needs CUDA's compiler, nvcc, which is not installed here"; exit 1; }
	$(NVCC) $(GPU_FLAGS) -o $@ $< $(GPU_LIBS) $(ICU)
dev/ngram: dev/ngram.c build/flags
	$(CC) $(FLAGS) -o $@ $< -lm
dev/bench/bench: dev/bench/bench.c $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl

# Two libraries speak C++: data/*.cc is all of it. CLD2 knows languages; where it is not installed, its tagger says so.
CLD2    = $(shell echo '\#include <cld2/public/encodings.h>' | $(CXX) -E -xc++ - >/dev/null 2>&1 && echo build/cld2.o)
build/%.o: data/%.cc build/flags
	$(CXX) -O2 -Wall -Wextra -std=c++17 $(CFLAGS) -fno-sanitize=vptr -c -o $@ $<

data: $(DATA)
$(DATA) data/test/test_data: %: %.c $(wildcard data/*.c data/test/*.c) $(SOURCE) build/json.o $(CLD2) build/flags
	@pkg-config --print-errors --exists $(LIBS) || { echo "make data needs these libraries: see data/README.md"; exit 1; }
	$(CC) $(FLAGS) -Wno-unused-function -DICU $(CLD2:%.o=-DCLD2) $(shell pkg-config --cflags $(LIBS)) -o $@ $< \
	    build/json.o $(CLD2:%=% -lcld2) $(shell pkg-config --libs $(LIBS)) -lstdc++ -lm -ldl

include dev/class/class.mk

clean:
	rm -rf train_olmo train_olmo_cu train_olmo_cu_fp32 test_olmo test_olmo_double test_olmo_cu test_olmo_cu_fp32 test_olmo_on_cpu test_olmo_on_cpu_fp32 data/stories data/stories.txt data/stories_val.txt* data/stories_*.jsonl dev/ngram dev/answers dev/bench/bench dev/eval/eval dev/eval/eval_cu dev/eval/test_eval $(DATA) data/test/test_data build
