# Plans and dry runs: what they promise is what runs.
load helpers

peak=${canto%/*}/tests/peak

plan() { # RANKS [ARGUMENT...]: of the tiny model on the tests' text, as JSON
    local ranks=$1
    shift
    "$canto" plan "$config" data.path="$text" --ranks "$ranks" --json "$@"
}

everything() { # DIRECTORY: names, times and sizes of all that is in it
    find "$1" -printf '%p %s %T@\n' | sort
}

@test "plan: the bytes of a step are those that a step sends, on 2, 3 and 4 ranks" {
    local model=(model.pattern=LGSW model.layers=4 'model.mixers=[{letter: W, kind: softmax, window: 20}]'
        train.steps=1 train.batch=4 train.eval_tokens=64 data.max_documents=64)
    for case in "2 parallel.linear=lasp1" "3 parallel.softmax=gather" "4 parallel.layout=contiguous" "4 parallel.dp=2"; do
        set -- $case
        run -0 train "$@" "${model[@]}" run.dir="$run_dir-$*"
        ranks=$1
        shift
        [ "$(plan "$ranks" "$@" "${model[@]}" | jq .step.bytes)" -eq "$(field bytes_sent "$run_dir-$ranks${*:+ $*}/metrics.jsonl")" ]
    done
}

@test "plan: the price of the strategy that is chosen is the step's, all are told, none fits every number" {
    plan 4 | jq -e '.step.bytes == .gradients.bytes + ([.softmax[], .linear[]] | map(select(.chosen).bytes) | add)'
    plan 4 | jq -e '(.softmax | map(select(.works).name)) == ["ring", "gather"] and (.linear | length) >= 2'
    run -0 "$canto" plan "$config" data.path= --ranks 4
    [[ "$output" == *"serial"*"cannot work on 4"* ]]
}

@test "plan: a share of the optimizer is 12 P/W bytes on 1, 2, 4 and 1024 ranks, and messages grow" {
    for w in 1 2 4 1024; do
        plan $w data.path= --memory parallel.dp=$w train.batch=1024 |
            jq -e --argjson w $w '.parameters as $p | .memory | length > 0 and all(
                ((.optimizer_share - 12 * $p / $w) | fabs) <= 12 * 3 and .saving == 2 * .optimizer_share
                and .parameters >= 4 * $p and .gradients >= 4 * $p and (.optimizer - .optimizer_share * 2 / 3) < 128)'
    done
}

@test "plan: 1024 context ranks of a million tokens take seconds and little memory" {
    run -0 timeout 20 "$peak" "$BATS_TEST_TMPDIR/peak" "$canto" plan "$root/launch/configs/quickstart.yaml" \
        data.path= --ranks 1024 --memory train.seq_len=1048576 train.batch=1
    [[ "$output" == *"1 replica of 1024 context ranks"*"memory of a rank"*"= without the program "*"first two ranks of 1024, "* ]]
    [ "$(cat "$BATS_TEST_TMPDIR/peak.0")" -lt 700000000 ]
}

@test "plan: no ranks, ranks that do not fit and a missing text are refused with exit code 2" {
    run -2 "$canto" plan "$config" data.path=
    [[ "$output" == *"--ranks"* ]]
    run -2 "$canto" plan "$config" data.path= --ranks 6 parallel.dp=4
    [[ "$output" == *"parallel.dp 4"* ]]
    run -2 "$canto" plan "$config" data.path=/nowhere --ranks 2
    [[ "$output" == *"/nowhere"* ]]
}

@test "dry run: nothing is made or written, before a run, in its middle and after it" {
    cd "$BATS_TEST_TMPDIR"
    before=$(everything .)
    run -0 train 2 --dry-run
    [[ "$output" == *"would start, for 20 steps"*"nothing was written"* ]]
    [ "$before" = "$(everything .)" ]
    run -75 train 2 train.stop_after=5
    before=$(everything .)
    run -0 train 2 --dry-run
    [[ "$output" == *"would continue after step 5 of 20"* ]]
    run -0 alone --dry-run --ranks 4
    [[ "$output" == *"would continue after step 5 of 20"*"4 context ranks"* ]]
    alone --dry-run --json train.steps=5 | jq -e '.continues_after == 5 and .steps == 5'
    [ "$before" = "$(everything .)" ]
}

@test "dry run: wrong keys, a damaged run and a run in use end with the start's exit codes" {
    run -2 alone --dry-run data.path=/nowhere
    run -2 train 2 --dry-run parallel.dp=3
    run -2 alone --ranks 4
    [[ "$output" == *"--dry-run"* ]]
    run -75 alone train.stop_after=5
    run -2 alone --dry-run train.lr=0.5
    [[ "$output" == *"train.lr"* ]]
    printf 'not a lock' > "$run_dir/lock"
    run -3 alone --dry-run
    [[ "$output" == *"not a lock"* ]]
    rm "$run_dir/lock"
    printf 'x' | dd of="$(ls "$run_dir"/checkpoints/step-*/shard-*.h5)" bs=1 seek=3000 conv=notrunc status=none
    run -3 train 2 --dry-run
    touch "$BATS_TEST_TMPDIR/file"
    run -74 alone --dry-run run.dir="$BATS_TEST_TMPDIR/file/run"
}

# The prediction is of arenas, of what saving takes and of the process before it takes either; what
# libraries touch later (OpenBLAS, MPI's shared memory) must vanish in the 5 %.
@test "dry run: the memory of each rank is within 5 % of the most it has while it trains" {
    local big=(model.d_model=448 model.heads=7 model.layers=4 model.pattern=LLLS train.seq_len=512 train.batch=1
        train.steps=1 train.eval_tokens=64)
    train 2 "${big[@]}" --dry-run --json | jq -r '.process as $p | .memory[] | .arenas + .saving + $p' > "$BATS_TEST_TMPDIR/told"
    run -0 mpirun -q --timeout 60 -n 2 "$peak" "$BATS_TEST_TMPDIR/peak" "$canto" train "$config" data.path="$text" run.dir="$run_dir" "${big[@]}"
    cat "$BATS_TEST_TMPDIR"/peak.? > "$BATS_TEST_TMPDIR/had"
    [ "$(head -1 "$BATS_TEST_TMPDIR/had")" -gt 250000000 ]
    closer "$BATS_TEST_TMPDIR/had" "$BATS_TEST_TMPDIR/told" 0.05
}
