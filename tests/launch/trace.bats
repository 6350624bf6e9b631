# canto train --trace.
load helpers

setup() {
    run_dir=$BATS_TEST_TMPDIR/run
    trace=$BATS_TEST_TMPDIR/trace.json
}

assert_good() { # RANKS: the trace keeps the rules
    run -0 jq -r --argjson ranks "$1" -f "$BATS_TEST_DIRNAME/trace.jq" "$trace"
    [ "$output" = good ]
}

sent() { # FIRST LAST: bytes that the metrics count in these steps
    jq -s "map(select(.event == null and .step >= $1 and .step <= $2) | .bytes_sent) | add" "$run_dir/metrics.jsonl"
}

@test "a trace keeps the rules of its format and holds every byte that was sent" {
    for ranks in 1 3; do
        rm -rf "$run_dir"
        run -0 train "$ranks" --trace "$trace" --trace-steps 3-4
        [[ "$output" == *"traced steps 3-4 of this start"* ]]
        assert_good "$ranks"
        [ "$(jq '[.traceEvents[] | select(.ph == "b" and (.name | startswith("send"))) | .args.bytes] | add // 0' "$trace")" \
            -eq "$(sent 3 4)" ]
        [ "$(jq '[.traceEvents[] | select(.ph == "b" and (.name | startswith("receive"))) | .args.bytes] | add // 0' "$trace")" \
            -eq "$(sent 3 4)" ]
        [ "$(jq -c '[.traceEvents[] | select(.name == "step" and .pid == 0) | .args.step]' "$trace")" = "[3,4]" ]
    done
}

@test "the lanes of replicas, checkpoints, evaluations and every kind of work are in a trace" {
    run -0 train 4 parallel.dp=2 store.every=1 train.eval_every=2 --trace "$trace" --trace-steps 1-2
    assert_good 4
    names=$(jq -r '.traceEvents[] | select(.ph == "X") | .name' "$trace" | sort -u)
    for name in step data plan forward loss backward reduce update exchange checkpoint evaluation \
        block "block backward" softmax linear mlp "own tiles" tiles summaries "local pass" "incoming states" \
        "add gradients" "gradient norm" optimizer "gather parameters" send receive wait gather; do
        grep -qx "$name" <<< "$names"
    done
    [ "$(jq '[.traceEvents[] | select(.name == "checkpoint" and .tid == 1)] | length' "$trace")" -eq 8 ]
    # Ranks of one replica talk on the schedule lane, all ranks on that of the gradients.
    [ "$(jq -c '[.traceEvents[] | select(.ph == "s") | .id | split(".")[:3] | join(".")] | unique
        | map(select(startswith("schedule")))' "$trace")" = '["schedule.0.1","schedule.1.0","schedule.2.3","schedule.3.2"]' ]
    [ "$(jq '[.traceEvents[] | select(.ph == "s") | .id | split(".")[:3]] | unique | map(select(.[0] == "gradients")) | length' "$trace")" -eq 12 ]
}

@test "a trace changes no loss; the first ten steps without --trace-steps; continued runs count from their start" {
    run -0 train 2
    field loss_bits > "$BATS_TEST_TMPDIR/plain"
    rm -rf "$run_dir"
    run -75 train 2 train.stop_after=12 --trace "$trace"
    [ "$(jq -c '[.traceEvents[] | select(.name == "step" and .pid == 1) | .args.step]' "$trace")" = "[1,2,3,4,5,6,7,8,9,10]" ]
    run -0 train 2 --trace "$trace"
    assert_good 2
    [ "$(jq -r .otherData.steps "$trace")" = 1-8 ]
    [ "$(jq -c '[.traceEvents[] | select(.name == "step" and .pid == 0) | .args.step]' "$trace")" = "[13,14,15,16,17,18,19,20]" ]
    field loss_bits | cmp - "$BATS_TEST_TMPDIR/plain"
}

@test "a trace of steps that never come is empty, and says so" {
    run -0 train 2 --trace "$trace" --trace-steps 50-60
    [[ "$output" == *"--trace-steps begins at step 50 of this start, which had 20"* ]]
    assert_good 2
    [ "$(jq '[.traceEvents[] | select(.ph != "M")] | length' "$trace")" -eq 0 ]
}

@test "a trace that cannot be written is told once, before the first step where that is possible" {
    run -74 train 2 --trace "$BATS_TEST_TMPDIR/nowhere/trace.json"
    [ "$(grep -c 'nowhere/trace.json: No such file' <<< "$output")" -eq 1 ]
    [ "$(field step | wc -l)" -eq 0 ]
    for steps in 0-3 3-2 x 1-2-3 "" -5; do
        run -2 "$canto" train "$config" data.path="$text" run.dir="$run_dir" --trace "$trace" "--trace-steps=$steps"
        [ "$(grep -c "is not a range of steps" <<< "$output")" -eq 1 ]
    done
}

@test "a disk that is full costs the trace and not the run" {
    run -0 train 2 --trace /dev/full --trace-steps 1-3
    [ "$(grep -c 'the trace after step 3 failed, the run goes on: .*/dev/full cannot be written: No space left' <<< "$output")" -eq 1 ]
    [ "$(field step | tail -1)" -eq 20 ]
    [ "$(jq -r 'select(.event == "failed") | .what' "$run_dir/metrics.jsonl")" = "the trace" ]
}

@test "an earlier trace is kept until there is another; --trace-steps alone is refused" {
    echo earlier > "$trace"
    run -2 train 2 "data.separator= " data.max_documents=2 --trace "$trace"
    [[ "$output" == *"the sequences of one step hold more than 2 documents"* ]]
    [ "$(cat "$trace")" = earlier ]
    run -2 train 2 "data.separator= " data.max_documents=2 --trace "$trace.other"
    [ ! -e "$trace.other" ]
    run -0 train 2 run.dir="$run_dir.other" --trace "$trace"
    assert_good 2
    run -2 train 2 --trace-steps 1-2
    [ "$(grep -c -- '--trace-steps: there is no trace' <<< "$output")" -eq 1 ]
}
