# What is installed is enough for somebody else's program. CANTO_BUILD names the build that is installed, and it is
# installed into a place that it was not configured for.
bats_require_minimum_version 1.5.0

setup_file() {
    cd "$BATS_TEST_DIRNAME/../.."
    export root=$PWD build=${CANTO_BUILD:-$PWD/build}
    export place=$BATS_FILE_TMPDIR/root/opt/canto
    DESTDIR=$BATS_FILE_TMPDIR/root cmake --install "$build" --prefix /opt/canto > "$BATS_FILE_TMPDIR/log"
    export library=$(dirname "$(cd "$place" && find . -name libcanto_layers.a)")
    export PKG_CONFIG_PATH=$place/$library/pkgconfig
}

on() { # RANKS COMMAND...
    local ranks=$1
    shift
    mpirun -q --timeout 60 -n "$ranks" "$@"
}

tells_its_price() { # PROGRAM: the ring's price is W(W-1)/2 messages under a causal mask
    run -0 on 1 "$1"
    [ "$output" = "1 ranks: 0 messages" ]
    run -0 on 2 "$1"
    [ "$output" = "2 ranks: 1 messages" ]
}

@test "the program, its pages and its completion are installed" {
    run -0 "$place/bin/canto" --version
    eval "$("$place/bin/canto" completion bash)"
    for page in canto $(_canto_names '' | sed 's/[a-z]*/canto-&/g'); do
        [ -s "$place/share/man/man1/$page.1" ]
    done
    run -0 env MANPATH="$place/share/man" man canto-train
    [[ "$output" == *"canto train"* ]]
    cmp <("$place/bin/canto" completion bash) "$place/share/bash-completion/completions/canto"
    for file in README.md CHANGELOG.md LICENSE configs/tiny.yaml examples/01_world.c; do [ -s "$place/share/doc/canto/$file" ]; done
    for file in "$root"/launch/doc/*.md; do cmp "$file" "$place/share/doc/canto/${file##*/}"; done
    run -0 "$place/bin/canto" config show "$place/share/doc/canto/configs/tiny.yaml"
}

@test "nothing that is installed knows where it was built" {
    run -1 grep -rlF --include=*.pc --include=*.cmake --include=*.h --include=*.c "$build" "$place"
    run -1 grep -rlF --include=*.pc --include=*.cmake --include=*.h --include=*.c "$root" "$place"
}

@test "every header can be the only one" {
    cd "$place/include" && [ "$(find canto -name '*.h' | wc -l)" -ge 40 ]
    while read -r header; do echo "#include <$header>" | cc -std=c11 -Wall -Werror -fsyntax-only -I. -x c -; done < <(find canto -name '*.h')
}

@test "find_package(canto): a project with one include directory" {
    cmake -S "$BATS_TEST_DIRNAME/cmake" -B "$BATS_TEST_TMPDIR/made" -DCMAKE_PREFIX_PATH="$place" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    cmake --build "$BATS_TEST_TMPDIR/made"
    # an option begins a word: the folder's own random name may hold "-I"
    [ "$(grep -oE -- ' -(I|isystem) ?[^ ]+' "$BATS_TEST_TMPDIR/made/compile_commands.json" | wc -l)" -eq 1 ]
    tells_its_price "$BATS_TEST_TMPDIR/made/consumer"
}

@test "find_package(canto 9): another version is refused" {
    mkdir "$BATS_TEST_TMPDIR/source"
    sed 's/canto 0.1/canto 9/; s|\.\./consumer.c|consumer.c|' "$BATS_TEST_DIRNAME/cmake/CMakeLists.txt" > "$BATS_TEST_TMPDIR/source/CMakeLists.txt"
    run ! cmake -S "$BATS_TEST_TMPDIR/source" -B "$BATS_TEST_TMPDIR/made" -DCMAKE_PREFIX_PATH="$place"
    [[ "$output" == *"requested version \"9\""* ]]
}

@test "pkg-config canto: a Makefile, and an installed example" {
    cp "$BATS_TEST_DIRNAME/pkgconfig/Makefile" "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
    make source="$BATS_TEST_DIRNAME/consumer.c"
    tells_its_price ./consumer
    [ "$(pkg-config --cflags canto | wc -w)" -eq 1 ]
    [ "$(pkg-config --modversion canto)" = "$("$place/bin/canto" --version | sed -n '1s/canto \([0-9.]*\) .*/\1/p')" ]
    make consumer source="$place/share/doc/canto/examples/01_world.c" -B
    run -0 on 2 ./consumer
    [[ "$output" == "2 ranks passed their numbers around"* ]]
}
