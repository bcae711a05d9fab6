# make train_olmo && ./train_olmo      the default run          make test     every test; the exit code is the verdict
# make bench                           how fast, and why        make clean
# make data                            the data room: tokenize, curate, stats (its libraries: data/README.md)
#
# CC=clang works as well. OPENMP= builds without OpenMP; ARCH= for a program that runs on machines other than this one.

CC     ?= cc
OPENMP ?= $(shell echo 'int main(void){return 0;}' | $(CC) -fopenmp -xc - -o /dev/null 2>/dev/null && echo -fopenmp)
ARCH   ?= -march=native
CFLAGS ?= -O3 $(ARCH)
THREADS = $(if $(filter -fopenmp,$(OPENMP)),-fopenmp,-fopenmp-simd -Wno-unknown-pragmas)
FLAGS   = -std=c11 -Wall -Wextra -ffp-contract=fast -fno-math-errno $(THREADS) $(CFLAGS)
SOURCE  = train_olmo.c data/tokenizer.c Makefile
CORPUS  = data/stories.txt data/stories_val.txt

# Unicode for the tokenizer, where ICU is installed; `make data` needs it, and the rest.
ICU     = $(shell pkg-config --exists icu-uc 2>/dev/null && pkg-config --cflags --libs icu-uc | sed 's/^/-DICU /')
LIBS    = icu-uc jansson libpcre2-8 libxxhash libzstd simdjson zlib
DATA    = data/tokenize data/curate data/stats

.PHONY: all test bench data clean always
all: train_olmo

# Other flags, another compiler, a library that was installed meanwhile: what they go into is built again. The stamp holds
# all of them, and is written only when they have changed.
STAMP   = $(shell $(CC) --version 2>/dev/null | head -n 1) $(CXX) $(FLAGS) $(ICU) $(CLD2) $(shell pkg-config --modversion $(LIBS) 2>&1 | tr '\n' ' ')
build/flags: always
	@mkdir -p build; stamp='$(subst ','\'',$(STAMP))'; echo "$$stamp" | cmp -s - $@ || echo "$$stamp" > $@

train_olmo: $(SOURCE) $(CORPUS) build/flags
	$(CC) $(FLAGS) -o $@ $< -lm $(ICU)

data/stories: data/stories.c build/flags
	$(CC) -O2 -std=c11 -Wall -Wextra $(CFLAGS) -o $@ $< -lm

data/stories.txt: data/stories
	data/stories
data/stories_val.txt: data/stories.txt ;

# The same tests twice: in float, and in double, where finite differences can see every gradient.
test_olmo: test_olmo.c $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm $(ICU)
test_olmo_double: test_olmo.c $(SOURCE) build/flags
	$(CC) $(FLAGS) -Wno-unused-function -DREAL=double -o $@ $< -lm $(ICU)

# ... and those of the data room, where its libraries are installed.
DATA_TESTS = $(shell pkg-config --exists $(LIBS) 2>/dev/null && echo data/test/test_data)
test: train_olmo test_olmo test_olmo_double $(DATA_TESTS:%=% $(DATA))
	@[ "$(DATA_TESTS)" ] || echo "skipped: the tests of data/; its libraries are not installed here (data/README.md)"
	./test_olmo $(DATA_TESTS)

bench: train_olmo dev/bench/bench
	dev/bench/bench
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
	    build/json.o $(CLD2:%=% -lcld2) $(shell pkg-config --libs $(LIBS)) -lstdc++ -lm

clean:
	rm -rf train_olmo test_olmo test_olmo_double data/stories data/stories.txt data/stories_val.txt* dev/ngram dev/bench/bench $(DATA) data/test/test_data build
