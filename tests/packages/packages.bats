# The Debian packages: named and placed as they should be, complete, and usable from where they are unpacked.
bats_require_minimum_version 1.5.0

setup_file() {
    cd "$BATS_TEST_DIRNAME/../.."
    cmake --preset portable > "$BATS_FILE_TMPDIR/log"
    cmake --build --preset portable -j "$(nproc)" >> "$BATS_FILE_TMPDIR/log"
    rm -rf build-portable/packages
    cpack --preset deb >> "$BATS_FILE_TMPDIR/log"
    export root=$PWD scratch=$BATS_FILE_TMPDIR/scratch
    export version=$(sed -n 's/^project(canto VERSION \([0-9.]*\) .*/\1/p' CMakeLists.txt)
    export architecture=$(dpkg --print-architecture) multiarch=$(gcc -print-multiarch)
    export program=$PWD/build-portable/packages/canto_${version}_$architecture.deb
    export development=$PWD/build-portable/packages/libcanto-dev_${version}_$architecture.deb
    mkdir "$scratch"
    for package in "$program" "$development"; do dpkg-deb -x "$package" "$scratch"; done
}

field() { dpkg-deb --field "$1" "$2"; } # PACKAGE FIELD

@test "two packages, with their fields" {
    [ "$(cd "$root/build-portable/packages" && echo *.deb)" = "$(basename "$program") $(basename "$development")" ]
    for package in "$program" "$development"; do
        [ "$(field "$package" Version)" = "$version" ]
        [ "$(field "$package" Architecture)" = "$architecture" ]
        [ "$(field "$package" Description | wc -l)" -ge 4 ]
        run -0 dpkg-deb --info "$package"
    done
    [ "$(field "$program" Package)" = canto ]
    [ "$(field "$development" Package)" = libcanto-dev ]
}

@test "dependencies: libraries of the program by dpkg-shlibdeps, packages for building by name" {
    for library in libopenmpi libopenblas0 libhdf5 libyaml libjansson libhwloc libxxhash openmpi-bin libgomp; do
        [[ "$(field "$program" Depends)" == *"$library"* ]]
    done
    for package in $(field "$development" Depends | tr -d ,); do
        [[ "$package" == *-dev ]]
        dpkg-query -W "$package"
    done
}

@test "everything is under /usr, owned by root, and pages are compressed" {
    for package in "$program" "$development"; do
        dpkg-deb --contents "$package" > "$BATS_TEST_TMPDIR/contents"
        run -1 grep -v ' \./usr/' "$BATS_TEST_TMPDIR/contents"
        run -1 grep -v ' root/root ' "$BATS_TEST_TMPDIR/contents"
        run -1 grep -vE '^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x root/root .* \./usr/bin/canto$)' "$BATS_TEST_TMPDIR/contents"
        [ -s "$scratch/usr/share/doc/$(field "$package" Package)/copyright" ]
    done
    [ -z "$(find "$scratch/usr/share/man" -type f ! -name '*.gz')" ]
    for file in usr/bin/canto usr/share/man/man1/canto{,-train,-config}.1.gz usr/share/bash-completion/completions/canto \
        usr/share/doc/canto/{README.md,CHANGELOG.md,examples/01_world.c,configs/tiny.yaml} \
        usr/include/canto/{runtime/comm,parallel/mask,layers/model}.h usr/lib/$multiarch/libcanto_{runtime,parallel,layers}.a \
        usr/lib/$multiarch/pkgconfig/canto.pc usr/lib/$multiarch/cmake/canto/cantoConfig.cmake; do
        [ -s "$scratch/$file" ]
    done
    [ "$(cd "$scratch/usr/share/man/man1" && ls | sed -n 's/^canto-\(.*\)\.1\.gz/\1/p' | sort)" = \
        "$(. "$scratch/usr/share/bash-completion/completions/canto" && _canto_names '' | tr ' ' '\n' | sort)" ]
}

@test "the unpacked program runs, on any processor of the architecture" {
    run -0 "$scratch/usr/bin/canto" --version
    [[ "$output" == "canto $version (Release, "*"native OFF)"* ]]
    run -0 man -l "$scratch/usr/share/man/man1/canto-train.1.gz"
    run -0 mpirun -q --timeout 60 -n 2 "$scratch/usr/bin/canto" train "$scratch/usr/share/doc/canto/configs/tiny.yaml" \
        data.path="$root/tests/text/genesis.txt" run.dir="$BATS_TEST_TMPDIR/run" train.steps=2
}

@test "the unpacked libraries serve another program" {
    cd "$BATS_TEST_TMPDIR"
    export PKG_CONFIG_PATH=$scratch/usr/lib/$multiarch/pkgconfig
    make -f "$root/tests/consumers/pkgconfig/Makefile" source="$root/tests/consumers/consumer.c"
    run -0 mpirun -q --timeout 60 -n 2 ./consumer
    [ "$output" = "2 ranks: 1 messages" ]
}

@test "dpkg installs and removes them" {
    local place=$BATS_TEST_TMPDIR/place
    mkdir -p "$place"/var/lib/dpkg/{info,updates} && touch "$place/var/lib/dpkg/status"
    local dpkg=(dpkg --root="$place" --force-depends --force-not-root --log="$BATS_TEST_TMPDIR/log")
    "${dpkg[@]}" -i "$program" "$development"
    run -0 "$place/usr/bin/canto" --version
    [ "$(dpkg-query --admindir="$place/var/lib/dpkg" -W -f '${Status}' canto)" = "install ok installed" ]
    "${dpkg[@]}" -P libcanto-dev canto
    [ ! -e "$place/usr/bin/canto" ] && [ ! -e "$place/usr/include/canto" ]
}

@test "lintian finds no error" {
    command -v lintian > /dev/null || skip "lintian is not installed"
    run -0 lintian --allow-root --fail-on error "$program" "$development"
}
