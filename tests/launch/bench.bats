# canto bench: the quickest of its commands; every figure is in tests/nightly.
load helpers

@test "bench roofs: ratios of rates that were measured, as a table and as JSON" {
    run -0 --separate-stderr "$canto" bench roofs --pairs 1 --json
    jq -e '.bench == "roofs" and .pairs == 1 and .threads == 1 and .fma_gflops > 0 and .sgemm_gflops > 0' <<< "$output"
    jq -e '.rows | length >= 3 and all(.[]; .ratio > 0 and .ours > 0 and .theirs > 0 and .low <= .high)' <<< "$output"
    jq -e '[.rows[] | select(.floor) | .reached == (.ratio >= .floor)] | length > 0 and all' <<< "$output"
}

@test "bench decode: one row a case, whatever they reach" {
    run -0 --separate-stderr "$canto" bench decode --pairs 1
    [[ $output == "level "*"FMA roof"*"linear, constant decay"*"softmax, 4 to a key head"* ]]
}

@test "bench: a level that is none, and no pairs, are refused" {
    CANTO_ISA=mmx run -2 "$canto" bench roofs --pairs 1
    [[ $output == "canto: "*mmx* ]]
    run -2 "$canto" bench roofs --pairs 0
    [[ $output == *"--pairs must be 1 or more"* ]]
}

@test "long_sequence: a table and JSON of every pattern and length" {
    out=$BATS_TEST_TMPDIR/results
    run -0 env BUILD="$(dirname "$canto")" STEPS=1 "$root/examples/long_sequence/run" "$out" 600 2500
    jq -e '.rows | length == 4 and all(.[]; .step_s > 0 and .peak_bytes > .arena_bytes and .first_loss > 4)' "$out/long-sequence.json"
    jq -e '[.rows[] | "\(.pattern) \(.tokens)"] == ["L 600", "L 2500", "LLLW 600", "LLLW 2500"]' "$out/long-sequence.json"
    cd "$BATS_TEST_TMPDIR"
    for arguments in --help "results 0" "results many"; do
        run -2 env BUILD="$(dirname "$canto")" "$root/examples/long_sequence/run" $arguments
    done
    [ ! -e results/text ]
}
