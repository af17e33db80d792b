#!/bin/bash -eu
# Builds the fuzzers as OSS-Fuzz wants them: with its compiler, flags and engine, and nothing shared but the C library.
# In: SRC, WORK, OUT, CC, CXX, CFLAGS, CXXFLAGS, LIB_FUZZING_ENGINE, and in $SRC the checkouts `warren` and `fmt`.
here=$SRC/warren/tests/fuzz

cmake -S "$SRC/fmt" -B "$WORK/fmt" -G Ninja -DCMAKE_BUILD_TYPE=None -DFMT_TEST=OFF -DFMT_DOC=OFF \
    -DCMAKE_INSTALL_PREFIX="$WORK/installed"
cmake --build "$WORK/fmt" --target install

# Static libraries are all that the image which runs the fuzzers gets.
cmake -S "$SRC/warren" -B "$WORK/warren" -G Ninja -DCMAKE_BUILD_TYPE=None -DWARREN_BUILD_FUZZERS=ON \
    -DWARREN_FUZZING_ENGINE="$LIB_FUZZING_ENGINE" -DCMAKE_PREFIX_PATH="$WORK/installed" \
    -DRabbitMQC_LIBRARY="$("$CC" -print-file-name=librabbitmq.a)" -DOPENSSL_USE_STATIC_LIBS=ON
cmake --build "$WORK/warren"

python3 "$here/make_seeds.py" "$WORK/seeds"
for built in "$WORK"/warren/tests/fuzz/warren_fuzz_*; do
    target=${built##*/warren_fuzz_}
    cp "$built" "$OUT/warren_$target"
    (cd "$WORK/seeds/$target" && zip -q -r "$OUT/warren_${target}_seed_corpus.zip" .)
    cp "$here/words.dict" "$OUT/warren_$target.dict"
done
