# Evaluation while training: committed before it, the best kept, whatever happens in between.
load helpers

die=${canto%/*}/tests/die_at_rename.so
evaluated=(train.steps=12 train.eval_every=3 train.eval_tokens=256 store.keep_last=1)

# A learning rate that is too high from the middle on, so that the best is not the last.
spoiled=("${evaluated[@]}" train.lr=0.2 train.min_lr=0.2 train.warmup=9)

best() { "$canto" ckpt ls "${1:-$run_dir}" --json | jq -c 'map(select(.best == 1)) | .[0] | [.step, .held_out_loss]'; }
steps() { "$canto" ckpt ls "${1:-$run_dir}" --json | jq -c 'map(.step)'; }
lowest() { # of the evaluations in the metrics: the step that ckpt ls should name
    jq -sc 'map(select(.event == "eval")) | min_by(.loss) | [.step, .loss]' "${1:-$run_dir}/metrics.jsonl"
}

@test "every evaluation is of a saved step, and the best outlives the newer ones" {
    run -0 train 2 "${spoiled[@]}"
    [[ "$output" == *"best so far: step"* ]]
    [ "$(best)" = "$(lowest)" ]
    step=$(best | jq '.[0]')
    [ "$step" -lt 12 ]
    [ "$(steps)" = "[$step,12]" ]
    jq -sc 'map(select(.event == "save" or .event == "eval") | [.event, .step])' "$run_dir/metrics.jsonl" > "$BATS_TEST_TMPDIR/order"
    [ "$(cat "$BATS_TEST_TMPDIR/order")" = '[["save",3],["eval",3],["save",6],["eval",6],["save",9],["eval",9],["save",12],["eval",12]]' ]
    run -0 "$canto" ckpt verify "$run_dir"
    run -0 "$canto" ckpt ls "$run_dir"
    [[ "$output" == *"best 1, loss "* ]]
}

@test "--step best: eval, generate, ckpt ls, ckpt diff; without a mark it is refused" {
    run -0 alone "${spoiled[@]}"
    step=$(best | jq '.[0]')
    "$canto" eval "$run_dir" --step best --json | jq -r '.step, .bits_per_byte' > "$BATS_TEST_TMPDIR/eval"
    [ "$(head -1 "$BATS_TEST_TMPDIR/eval")" -eq "$step" ]
    jq -r --argjson s "$step" 'select(.event == "eval" and .step == $s).bits_per_byte' "$run_dir/metrics.jsonl" > "$BATS_TEST_TMPDIR/told"
    closer <(tail -1 "$BATS_TEST_TMPDIR/eval") "$BATS_TEST_TMPDIR/told" 1e-5
    cmp <("$canto" generate "$run_dir" -n 20 --step best) <("$canto" generate "$run_dir" -n 20 --step "$step")
    "$canto" ckpt ls "$run_dir" --step best --json | jq -e --argjson s "$step" 'map(.step) == [$s]'
    run -0 "$canto" ckpt diff "$run_dir@best" "$run_dir@$step"
    run -2 "$canto" generate "$run_dir" --step bets
    run -0 alone run.dir="$run_dir-none" train.steps=2 store.keep_best=0
    run -3 "$canto" generate "$run_dir-none" --step best
    [[ "$output" == *"no best checkpoint"* ]]
}

@test "several best are kept, and a run without keeps none and saves nothing for evaluations" {
    run -0 alone "${evaluated[@]}" store.keep_best=2
    [ "$("$canto" ckpt ls "$run_dir" --json | jq 'map(select(.best)) | length')" -eq 2 ]
    run -0 alone "${evaluated[@]}" run.dir="$run_dir-0" store.keep_best=0
    [ "$(steps "$run_dir-0")" = "[12]" ]
    [ "$(jq -s 'map(select(.event == "save")) | length' "$run_dir-0/metrics.jsonl")" -eq 1 ]
    [ "$(jq -s 'map(select(.event == "eval")) | length' "$run_dir-0/metrics.jsonl")" -eq 4 ]
}

@test "killed before a step is committed, before it is marked, or at its retention: the best is that of an uninterrupted run" {
    run -0 alone "${spoiled[@]}" run.dir="$run_dir-whole"
    for point in "step-00000006 1" "best 1" "best 3" ".trash 1"; do
        set -- $point
        LD_PRELOAD="$die" DIE_NAME="$1" DIE_AT="$2" run -137 alone run.dir="$run_dir-$1-$2" "${spoiled[@]}"
        run -0 alone "${spoiled[@]}" run.dir="$run_dir-$1-$2"
        [ "$(best "$run_dir-$1-$2")" = "$(best "$run_dir-whole")" ]
        [ "$(steps "$run_dir-$1-$2")" = "$(steps "$run_dir-whole")" ]
        diff <(jq -sc 'map(select(.event == "eval") | [.step, .loss]) | unique' "$run_dir-$1-$2/metrics.jsonl") \
            <(jq -sc 'map(select(.event == "eval") | [.step, .loss]) | unique' "$run_dir-whole/metrics.jsonl")
        run -0 "$canto" ckpt verify "$run_dir-$1-$2"
    done
}

@test "an evaluation that fails is told and never costs the run" {
    head -c 40000 "$text" > "$BATS_TEST_TMPDIR/text"
    printf 'a@@%.0s' {1..1000} >> "$BATS_TEST_TMPDIR/text"
    run -0 train 2 "${evaluated[@]}" data.path="$BATS_TEST_TMPDIR/text" data.held_out=0.05 data.separator=@@ data.max_documents=4
    [ "$(grep -c 'evaluation after step 3 failed, the run goes on: .*data.max_documents' <<< "$output")" -eq 1 ]
    [[ "$output" == *"done: step 12"* ]]
    [ "$(field step | wc -l)" -eq 12 ]
    jq -es 'map(select(.event == "failed") | .step) == [3, 6, 9, 12]' "$run_dir/metrics.jsonl"
    [ "$(steps)" = "[12]" ]
}

@test "damaged marks: nothing is removed, the run goes on and says what to do" {
    run -75 alone "${evaluated[@]}" train.stop_after=4
    echo x >> "$run_dir/checkpoints/best"
    run -0 alone "${evaluated[@]}"
    [ "$(grep -c 'marking the best checkpoint after step .*remove the file' <<< "$output")" -eq 3 ]
    [ "$(steps)" = "[3,4,6,9,12]" ]
    run -3 "$canto" ckpt verify "$run_dir"
    [[ "$output" == *"best is damaged"* ]]
    [ "$(grep -c '  good$' <<< "$output")" -eq 5 ]
    run -3 "$canto" generate "$run_dir" --step best
}
