# Shared by the .bats files: the program, its launcher and a directory for each test.
bats_require_minimum_version 1.5.0
canto=${CANTO:-$BATS_TEST_DIRNAME/../../build/canto}
root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
config=$root/launch/configs/tiny.yaml
text=$root/tests/text/genesis.txt

setup() {
    run_dir=$BATS_TEST_TMPDIR/run
}

on() { # RANKS ARGUMENT...: the program on so many ranks
    local ranks=$1
    shift
    mpirun -q --timeout 60 -n "$ranks" "$canto" "$@"
}

train() { # RANKS [KEY=VALUE...]: the tiny model on the tests' text
    local ranks=$1
    shift
    on "$ranks" train "$config" data.path="$text" run.dir="$run_dir" "$@"
}

alone() { # [KEY=VALUE...]: the same without a launcher
    "$canto" train "$config" data.path="$text" run.dir="$run_dir" "$@"
}

field() { # NAME [FILE]: that field of every step, one a line
    jq -r "select(.event == null) | .$1" "${2:-$run_dir/metrics.jsonl}"
}

closer() { # FILE FILE TOLERANCE: columns of numbers agree, relatively
    paste "$1" "$2" | awk -v tolerance="$3" '
        NF != 2 { print "line " NR " has no partner"; exit 1 }
        { d = $1 > $2 ? $1 - $2 : $2 - $1; if (d > tolerance * ($1 > 0 ? $1 : -$1)) { print "line " NR ": " $0; exit 1 } }'
}

until_true() { # COMMAND...: tries for 20 seconds at most
    for _ in $(seq 200); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    echo "never came true: $*"
    return 1
}
