# The scaling example in its smallest form: every number of bytes is its formula's.
load helpers

@test "scaling: table, JSON and SVG; what lanes send is what the formulas say" {
    out=$BATS_TEST_TMPDIR/results
    run -0 env BUILD="$(dirname "$canto")" MPIRUN="mpirun -q" RANKS="1 2 3" "$root/examples/scaling/run" "$out" 1 train.seq_len=96
    [[ $output == *"softmax ring"*"= formula"*"hybrid LLLS"* ]]
    [[ $output != *"formula 0"* ]]
    jq -e '.rows | length == 15 and all(.[]; .schedule_bytes == .schedule_formula and .gradient_bytes == .gradient_formula)' "$out/scaling.json"
    jq -e '[.rows[] | select(.ranks > 1) | .schedule_bytes] | all(. > 0)' "$out/scaling.json"
    jq -e '.machine and .noise.median > 0 and all(.rows[]; .exposed.median >= 0 and .exposed.median < 1)' "$out/scaling.json"
    grep -q '</svg>' "$out/scaling.svg"
}

@test "scaling: arguments that make no sense are refused, and nothing is made" {
    mkdir "$BATS_TEST_TMPDIR/here" && cd "$BATS_TEST_TMPDIR/here"
    for arguments in --help train.seq_len=96 "results 0" "results none" "results -1"; do
        run -2 --separate-stderr env BUILD="$(dirname "$canto")" "$root/examples/scaling/run" $arguments
        [[ $stderr == "usage: "* ]]
    done
    [ -z "$(ls)" ]
}
