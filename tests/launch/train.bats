# Training from the command line: progress, metrics, saving, resuming, refusing.
load helpers

@test "20 steps: the loss falls, and every step has its record" {
    run -0 train 2
    [ "$(field step | tail -1)" -eq 20 ]
    [ "$(field step | wc -l)" -eq 20 ]
    first=$(field loss | head -1)
    last=$(field loss | tail -1)
    awk -v a="$first" -v b="$last" 'BEGIN { exit !(b < a - 0.3) }'
    jq -es 'map(select(.event == null)) | all(has("bits_per_byte") and has("grad_norm") and has("lr") and has("tokens") and has("tokens_per_s")
        and has("step_s") and has("comm_wait_s") and has("bytes_sent") and has("ranks") and has("time") and (.loss_bits | test("^0x[0-9a-f]{16}$")))' "$run_dir/metrics.jsonl"
    [[ "$output" == *"held-out"* ]]
}

@test "losses of 1, 2, 3 and 4 ranks agree to 1e-5" {
    for n in 1 2 3 4; do
        run -0 train $n run.dir="$run_dir-$n"
        field loss "$run_dir-$n/metrics.jsonl" > "$BATS_TEST_TMPDIR/loss-$n"
    done
    for n in 2 3 4; do closer "$BATS_TEST_TMPDIR/loss-1" "$BATS_TEST_TMPDIR/loss-$n" 1e-5; done
}

@test "two runs on the same ranks have the same bits" {
    run -0 train 2 run.dir="$run_dir-a"
    run -0 train 2 run.dir="$run_dir-b"
    diff <(field loss_bits "$run_dir-a/metrics.jsonl") <(field loss_bits "$run_dir-b/metrics.jsonl")
    diff <(field grad_norm_bits "$run_dir-a/metrics.jsonl") <(field grad_norm_bits "$run_dir-b/metrics.jsonl")
}

@test "one thread and two have the same bits, of fp32 and of bf16" {
    for dtype in fp32 bf16; do
        for n in 1 2; do
            export OMP_NUM_THREADS=$n
            run -0 alone run.dir="$run_dir-$dtype-$n" train.dtype=$dtype train.seq_len=600 train.steps=6
            [[ "$output" == *"threads $n each"* ]]
        done
        diff <(field loss_bits "$run_dir-$dtype-1/metrics.jsonl") <(field loss_bits "$run_dir-$dtype-2/metrics.jsonl")
        diff <(field grad_norm_bits "$run_dir-$dtype-1/metrics.jsonl") <(field grad_norm_bits "$run_dir-$dtype-2/metrics.jsonl")
    done
}

@test "bf16: the losses of fp32 to a hundredth and not to the bit, on 1 and on 3 ranks; a run keeps its precision" {
    run -0 train 1 run.dir="$run_dir-fp32"
    for n in 1 3; do
        run -0 train $n run.dir="$run_dir-$n" train.dtype=bf16
        [[ "$output" == *"products of bf16 numbers"* ]]
        for d in fp32 $n; do field loss "$run_dir-$d/metrics.jsonl" > "$BATS_TEST_TMPDIR/loss-$d"; done
        closer "$BATS_TEST_TMPDIR/loss-fp32" "$BATS_TEST_TMPDIR/loss-$n" 1e-2
        run ! closer "$BATS_TEST_TMPDIR/loss-fp32" "$BATS_TEST_TMPDIR/loss-$n" 1e-6
    done
    run -2 train 1 run.dir="$run_dir-fp32" train.dtype=bf16 train.steps=30
    [[ "$output" == *train.dtype* ]]
}

@test "stopped and continued on the same ranks, whatever is recomputed: the same bits as without a stop" {
    run -0 train 2 run.dir="$run_dir-whole"
    run -75 train 2 train.stop_after=7 train.recompute=block
    [[ "$output" == *"train.stop_after: leaves after step 7; the time left is until then"*"left after step 7 of 20"* ]]
    run -0 train 2 train.recompute=attention
    [[ "$output" == *"continues after step 7"* ]]
    diff <(field loss_bits "$run_dir-whole/metrics.jsonl") <(field loss_bits)
}

@test "stopped on 2 ranks, continued on 4, then on 3: losses agree to 1e-5" {
    run -0 train 2 run.dir="$run_dir-whole"
    run -75 train 2 train.stop_after=7
    run -75 train 4 train.stop_after=14 parallel.linear=lasp1 parallel.softmax=gather
    run -0 train 3 parallel.layout=contiguous
    field loss "$run_dir-whole/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
    [ "$(field ranks | tr '\n' ' ')" = "2 2 2 2 2 2 2 4 4 4 4 4 4 4 3 3 3 3 3 3 " ]
}

@test "two replicas of two context ranks: losses agree with one rank" {
    run -0 alone run.dir="$run_dir-1"
    run -0 train 4 parallel.dp=2
    field loss "$run_dir-1/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
}

@test "accumulation: two streams of one sequence are one stream of two" {
    run -0 train 2 run.dir="$run_dir-1"
    run -0 train 2 train.batch=1 train.accumulate=2
    field loss "$run_dir-1/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
}

@test "records beyond the checkpoint are set aside, not lost" {
    run -75 alone train.stop_after=5
    echo '{"step": 6, "loss": 1.0}' >> "$run_dir/metrics.jsonl"
    printf '{"step": 7, "lo' >> "$run_dir/metrics.jsonl"
    run -0 alone
    [[ "$output" == *"2 records beyond step 5"* ]]
    [ "$(wc -l < "$run_dir/metrics.discarded.jsonl")" -eq 2 ]
    [ "$(field step | sort -n | uniq -d | wc -l)" -eq 0 ]
}

@test "a step to stop after that is past stops nothing: the same command continues" {
    run -75 alone train.stop_after=5
    run -0 alone train.stop_after=5
    [[ "$output" == *"train.stop_after 5 is over: goes on to step 20"* ]]
    [[ "$output" == *"done: step 20"* ]]
    run -0 alone run.dir="$run_dir-2" train.stop_after=50
    [[ "$output" == *"done: step 20"* ]]
}

@test "a run continues in another working directory, with the text named in another way" {
    cp "$text" "$BATS_TEST_TMPDIR/text"
    cd "$BATS_TEST_TMPDIR"
    run -75 "$canto" train "$config" run.dir="$run_dir" data.path=text train.stop_after=5
    cd /
    run -0 "$canto" train "$config" run.dir="$run_dir" data.path="$BATS_TEST_TMPDIR/text"
    [[ "$output" == *"continues after step 5"* ]]
    run -0 "$canto" eval "$run_dir"
}

@test "a finished run is left as it is; more steps continue it" {
    run -0 alone
    before=$(field loss_bits | md5sum)
    run -0 alone
    [ "$before" = "$(field loss_bits | md5sum)" ]
    run -0 alone train.steps=22
    [ "$(field step | tail -1)" -eq 22 ]
}

@test "a changed key is refused with both values, and nothing changes" {
    run -75 alone train.stop_after=5
    before=$(md5sum < "$run_dir/metrics.jsonl")
    run -2 train 2 train.lr=0.5
    [ "$(grep -c 'train.lr.*0.5' <<< "$output")" -eq 1 ]
    run -2 alone model.d_model=64
    [[ "$output" == *"model.d_model"*"64"* ]]
    run -2 alone train.steps=4 train.stop_after=0
    [[ "$output" == *"train.steps"* ]]
    [ "$before" = "$(md5sum < "$run_dir/metrics.jsonl")" ]
}

@test "a damaged newest checkpoint is named, and the one before it is used" {
    run -0 alone store.every=10 store.keep_last=2
    shard=$(ls "$run_dir"/checkpoints/step-00000020/shard-*.h5)
    printf 'x' | dd of="$shard" bs=1 seek=3000 conv=notrunc status=none
    run -3 "$canto" ckpt verify "$run_dir"
    [[ "$output" == *"shard-"* ]]
    run -0 alone store.every=10 store.keep_last=2
    [[ "$output" == *"continues after step 10"* ]]
    [[ "$output" == *"step-00000020"* ]]
    run -0 "$canto" ckpt verify "$run_dir"
    ls -d "$run_dir"/checkpoints/step-00000020.aside.*
    rm "$run_dir"/checkpoints/step-00000010/manifest.json "$run_dir"/checkpoints/step-00000020/manifest.json
    run -3 train 2
    [ "$(grep -c 'step 20 is not usable, trying the one before it' <<< "$output")" -eq 1 ]
    [ "$(grep -c 'step 10 is not usable, and there is none before it; bring one back' <<< "$output")" -eq 1 ]
}

@test "a configuration error is told once, before MPI starts, with exit code 2" {
    printf 'train:\n  lr: 3e-4x\n' > "$BATS_TEST_TMPDIR/bad.yaml"
    run -2 on 3 train "$BATS_TEST_TMPDIR/bad.yaml"
    [ "$(grep -c 'bad.yaml:2:7' <<< "$output")" -eq 1 ]
    run -2 on 2 train "$config" data.path=/nowhere run.dir="$run_dir"
    [ "$(grep -c '/nowhere' <<< "$output")" -eq 1 ]
    run -2 on 3 train "$config" data.path="$text" run.dir="$run_dir" parallel.dp=2
    [ "$(grep -c 'parallel' <<< "$output")" -eq 1 ]
    run -2 train 3 parallel.layout=uneven 'parallel.weights=[1, 2]'
    [ "$(grep -c 'parallel.weights has 2 shares for 3' <<< "$output")" -eq 1 ]
    run -2 train 2 data.max_documents=1
    [ "$(grep -c 'data.max_documents' <<< "$output")" -eq 1 ]
    run -2 train 2 parallel.softmax=serial
    [ "$(grep -c 'parallel.softmax serial' <<< "$output")" -eq 1 ]
}

@test "a run directory that cannot be made is told once, with exit code 74" {
    run -74 train 2 run.dir=/proc/nowhere/run
    [ "$(grep -c '/proc/nowhere' <<< "$output")" -eq 1 ]
}

@test "numbers that are not finite end the run once, with exit code 85; its checkpoint stays good" {
    run -85 train 3 train.lr=100 train.min_lr=0 train.warmup=0 train.weight_decay=10 store.every=1
    [ "$(grep -c 'not finite' <<< "$output")" -eq 1 ]
    run -0 "$canto" ckpt verify "$run_dir"
}

@test "a live owner of the run directory is refused by name; a dead one is taken over" {
    train 1 train.steps=100000 store.every=0 log.every=1 > "$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
    until_true grep -q '^step' "$BATS_TEST_TMPDIR/log"
    run -3 alone
    [[ "$output" == *"lock"* ]]
    pkill -KILL -f "canto train .*$run_dir"
    wait || true
    run -0 alone
    [[ "$output" == *"lock"* ]]
}

@test "USR2, forwarded by mpirun: every rank saves and leaves at the same step with exit code 75" {
    train 2 train.steps=100000 log.every=1 > "$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
    job=$!
    until_true grep -q '^step' "$BATS_TEST_TMPDIR/log"
    pkill -USR2 -f "^mpirun .*$run_dir "
    code=0
    wait $job || code=$?
    [ "$code" -eq 75 ]
    step=$(field step | tail -1)
    [ -d "$run_dir/checkpoints/step-$(printf %08d "$step")" ]
}

@test "Ctrl-C ends a run, which continues from its last checkpoint" {
    train 2 train.steps=100000 store.every=5 > "$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
    until_true test -e "$run_dir/checkpoints/latest"
    pkill -INT -f "^mpirun .*$run_dir "
    wait || true
    newest=$(ls "$run_dir/checkpoints" | grep -E '^step-[0-9]{8}$' | tail -1)
    step=$((10#${newest#step-}))
    run -75 train 2 train.steps=100000 store.every=5 train.stop_after=$((step + 1))
    [[ "$output" == *"continues after step $step"* ]]
}

@test "packed documents: separators, window layers, other strategies" {
    packed=(data.separator=$'\n' data.max_documents=64 model.pattern=LSW 'model.mixers=[{letter: W, kind: softmax, window: 9}]')
    run -0 train 3 "${packed[@]}"
    field loss > "$BATS_TEST_TMPDIR/a"
    run -0 train 2 run.dir="$run_dir-2" "${packed[@]}" parallel.softmax=gather parallel.linear=lasp1 parallel.layout=contiguous
    field loss "$run_dir-2/metrics.jsonl" > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
}

@test "retention and gates need no definition: other ranks, replicas, transports and layouts agree; text is generated" {
    mixed=(model.pattern=RGLS data.separator=$'\n' data.max_documents=64)
    run -0 alone run.dir="$run_dir-1" "${mixed[@]}"
    run -75 train 4 "${mixed[@]}" parallel.dp=2 train.stop_after=7
    run -0 train 3 "${mixed[@]}" parallel.linear=lasp1 parallel.layout=contiguous
    field loss "$run_dir-1/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
    run -0 "$canto" generate "$run_dir" -n 20
}

@test "messages over TCP only, compared at both ends" {
    run -0 mpirun -q --timeout 60 --mca btl tcp,self -n 2 "$canto" train "$config" data.path="$text" run.dir="$run_dir" parallel.check=true
    [ "$(field step | tail -1)" -eq 20 ]
}

@test "a terminal gets one live line, also through mpirun; a file gets plain lines" {
    train_line="mpirun -q --timeout 60 -n 2 $canto train $config data.path=$text"
    script -qec "$train_line run.dir=$run_dir" /dev/null > "$BATS_TEST_TMPDIR/terminal"
    grep -q $'\rstep 19/20.*left 0:00\033\[K' "$BATS_TEST_TMPDIR/terminal"
    script -qec "$train_line run.dir=$run_dir-2 2> $BATS_TEST_TMPDIR/file" /dev/null
    [ "$(grep -c '^step' "$BATS_TEST_TMPDIR/file")" -eq 20 ]
    run ! grep -q $'\r' "$BATS_TEST_TMPDIR/file"
}
