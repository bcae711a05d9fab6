# make train_olmo && ./train_olmo      the default run          make test     every test; the exit code is the verdict
# make bench                           how fast, and why        make clean
#
# CC=clang works as well. OPENMP= builds without OpenMP; ARCH= for a program that runs on machines other than this one.

CC     ?= cc
OPENMP ?= $(shell echo 'int main(void){return 0;}' | $(CC) -fopenmp -xc - -o /dev/null 2>/dev/null && echo -fopenmp || echo -fopenmp-simd)
ARCH   ?= -march=native
CFLAGS ?= -O3 $(ARCH)
FLAGS   = -std=c11 -Wall -Wextra -ffp-contract=fast -fno-math-errno $(OPENMP) $(CFLAGS)
SOURCE  = train_olmo.c Makefile
CORPUS  = data/stories.txt data/stories_val.txt

.PHONY: all test bench clean
all: train_olmo

train_olmo: $(SOURCE) $(CORPUS)
	$(CC) $(FLAGS) -o $@ $< -lm

data/stories: data/stories.c
	$(CC) -O2 -std=c11 -Wall -Wextra $(CFLAGS) -o $@ $< -lm

data/stories.txt: data/stories
	data/stories
data/stories_val.txt: data/stories.txt ;

# The same tests twice: in float, and in double, where finite differences can see every gradient.
test_olmo: test_olmo.c $(SOURCE)
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm
test_olmo_double: test_olmo.c $(SOURCE)
	$(CC) $(FLAGS) -Wno-unused-function -DREAL=double -o $@ $< -lm

test: train_olmo test_olmo test_olmo_double
	./test_olmo

bench: train_olmo dev/bench/bench
	dev/bench/bench
dev/ngram: dev/ngram.c
	$(CC) $(FLAGS) -o $@ $< -lm
dev/bench/bench: dev/bench/bench.c $(SOURCE)
	$(CC) $(FLAGS) -Wno-unused-function -o $@ $< -lm -ldl

clean:
	rm -rf train_olmo test_olmo test_olmo_double data/stories data/stories.txt data/stories_val.txt* dev/ngram dev/bench/bench build
