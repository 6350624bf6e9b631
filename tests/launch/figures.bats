# What a run tells of itself: the summary at its end, and canto plot.
load helpers

summary() { # JQ: of the latest summary
    jq -s "map(select(.event == \"summary\")) | last | $1" "$run_dir/metrics.jsonl"
}

@test "a summary ends every start: phases add up, every lane sent its price" {
    run -75 train 3 train.stop_after=8 train.eval_every=5 parallel.softmax=gather parallel.linear=lasp1
    [[ "$output" == *"8 steps of this start on 3 ranks"* ]]
    [[ "$output" == *"memory of a rank, MB: arenas"* ]]
    [[ "$output" != *"differs"* ]]
    [ "$(grep -cE '^  (forward|backward|reduce|update|checkpoint|evaluation) +[0-9.]+ +[0-9.]+ ' <<< "$output")" -eq 6 ]
    [ "$(grep -cE '^  (schedule|gradients) +[1-9][0-9]* +([1-9][0-9]*) +\2$' <<< "$output")" -eq 2 ]
    summary . | jq -e '(.lanes | all(.bytes == .priced_bytes and .messages == .priced_messages))
        and .lanes.schedule.bytes > 0 and .lanes.gradients.bytes > 0 and .lanes.control.collectives == 24
        and ((([.phases[].mean] | add) - .seconds) | fabs < 1e-9) and .seconds >= .step_s
        and .steps == 8 and .step == 8 and .ranks == 3 and .arena_bytes.min > 0 and .peak_bytes.max > .arena_bytes.max'
    [ "$(summary '.lanes.schedule.bytes + .lanes.gradients.bytes')" -ge "$(jq -s 'map(select(.event == null) | .bytes_sent) | add' "$run_dir/metrics.jsonl")" ]
    run -0 alone
    [[ "$output" == *"12 steps of this start on 1 rank:"* ]]
    [ "$(summary '.lanes.gradients.bytes')" -eq 0 ]
    run -0 alone
    [[ "$output" != *"steps of this start"* ]]
}

@test "metrics hold the times of every rank" {
    run -0 train 3
    jq -e -s 'map(select(.event == null)) | length == 20 and all((.compute_us | length) == 3 and (.wait_us | length) == 3
        and ((.wait_us | add) / 3e6 - .comm_wait_s | fabs < 2e-6) and (.compute_us | min) > 0)' "$run_dir/metrics.jsonl"
}

@test "plot draws loss, speed and times; --output and --json say what is drawn" {
    command -v gnuplot > /dev/null || skip "gnuplot is not installed"
    run -0 train 2 train.eval_every=5
    run -0 "$canto" plot "$run_dir"
    [[ "$output" == *"20 steps, 4 evaluations"* ]]
    for name in loss speed times; do grep -q '</svg>' "$run_dir/plots/$name.svg"; done
    grep -q 'held out' "$run_dir/plots/loss.svg"
    [ "$(wc -l < "$run_dir/plots/steps.csv")" -eq 21 ]
    run -0 "$canto" plot "$run_dir" --output "$BATS_TEST_TMPDIR/it's here"
    grep -q "$(basename "$run_dir"): loss" "$BATS_TEST_TMPDIR/it's here/loss.svg"
    run -0 env PATH=/nowhere "$canto" plot "$run_dir" --json
    jq -e '(.steps | length) == 20 and (.evaluations | length) == 4 and (.ranks | length) == 2 and .steps[19].step == 20
        and all(.steps[]; .compute_s.mean > 0 and .wait_s.max >= .wait_s.min)' <<< "$output"
    run -69 env PATH=/nowhere "$canto" plot "$run_dir"
    [[ "$output" == *"install gnuplot-nox"* ]]
}

@test "plot of one step says nothing of ranges and draws a point" {
    command -v gnuplot > /dev/null || skip "gnuplot is not installed"
    run -0 alone train.steps=1
    run -0 --separate-stderr "$canto" plot "$run_dir"
    [[ "$output" == *"1 step, 1 evaluation;"* && -z $stderr ]]
    [ "$(grep -c 'with points pt 7' "$run_dir/plots/plots.gp")" -eq 4 ]
}

@test "plot of what an older program wrote, and of nothing" {
    mkdir "$run_dir"
    run -74 "$canto" plot "$run_dir"
    [[ "$output" == *"metrics.jsonl: No such file"* ]]
    printf '{"step":0,"event":"start"}\n' > "$run_dir/metrics.jsonl"
    run -74 "$canto" plot "$run_dir"
    [[ "$output" == *"holds no step yet"* ]]
    printf '{"step":1,"bits_per_byte":2.5,"tokens_per_s":10}\n' >> "$run_dir/metrics.jsonl"
    run -74 "$canto" plot "$run_dir" --output /proc/nowhere
    [[ "$output" == *"/proc/nowhere"* ]]
    command -v gnuplot > /dev/null || skip "gnuplot is not installed"
    run -0 "$canto" plot "$run_dir"
    [[ "$output" == *"no times.svg"* ]]
    grep -q '</svg>' "$run_dir/plots/loss.svg"
}
