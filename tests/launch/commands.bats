# The other commands.
load helpers

@test "generate writes the prompt and as many bytes as asked for, the same for the same seed" {
    run -0 alone
    "$canto" generate "$run_dir" -p "In the beginning" -n 50 --seed 3 > "$BATS_TEST_TMPDIR/a"
    "$canto" generate "$run_dir" -p "In the beginning" -n 50 --seed 3 > "$BATS_TEST_TMPDIR/b"
    cmp "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
    [ "$(wc -c < "$BATS_TEST_TMPDIR/a")" -eq 67 ]
    grep -aq '^In the beginning' "$BATS_TEST_TMPDIR/a"
    "$canto" generate "$run_dir" -p "In the beginning" -n 50 --seed 4 > "$BATS_TEST_TMPDIR/c"
    run ! cmp -s "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/c"
    "$canto" generate "$run_dir" -n 20 --temperature 0 > "$BATS_TEST_TMPDIR/d"
    "$canto" generate "$run_dir" -n 20 --top-k 1 --seed 9 > "$BATS_TEST_TMPDIR/e"
    cmp "$BATS_TEST_TMPDIR/d" "$BATS_TEST_TMPDIR/e"
}

@test "generate: any bytes as prompt, none is refused; a vocabulary beyond bytes still writes bytes" {
    run -0 alone model.vocab=300 train.steps=1
    "$canto" generate "$run_dir" -p $'\xff\xc3\xa9' -n 200 --temperature 50 > "$BATS_TEST_TMPDIR/a"
    [ "$(wc -c < "$BATS_TEST_TMPDIR/a")" -eq 204 ]
    [ "$(head -c 3 "$BATS_TEST_TMPDIR/a" | od -An -tx1)" = " ff c3 a9" ]
    "$canto" generate "$run_dir" -p x -n 0 > "$BATS_TEST_TMPDIR/b"
    [ "$(wc -c < "$BATS_TEST_TMPDIR/b")" -eq 2 ]
    run -2 "$canto" generate "$run_dir" -p ""
    [[ "$output" == *"prompt is empty"* ]]
}

@test "eval gives the same bits per byte on any number of ranks, as table and JSON" {
    run -0 train 2
    for n in 1 3; do on $n eval "$run_dir" --json 2> /dev/null | jq -r .bits_per_byte > "$BATS_TEST_TMPDIR/eval-$n"; done
    closer "$BATS_TEST_TMPDIR/eval-1" "$BATS_TEST_TMPDIR/eval-3" 1e-5
    jq -r 'select(.event == "eval") | .bits_per_byte' "$run_dir/metrics.jsonl" | tail -1 > "$BATS_TEST_TMPDIR/eval-train"
    closer "$BATS_TEST_TMPDIR/eval-1" "$BATS_TEST_TMPDIR/eval-train" 1e-5
    run -0 "$canto" eval "$run_dir" --orders
    [[ "$output" == *"n-gram, order 4"*"this run, step 20"* ]]
}

@test "eval of a run on uneven shares works on any ranks; an edited model is refused with key and values" {
    run -0 train 2 parallel.layout=uneven 'parallel.weights=[1, 3]'
    for n in 1 3; do on $n eval "$run_dir" --json 2> /dev/null | jq -r .bits_per_byte > "$BATS_TEST_TMPDIR/eval-$n"; done
    closer "$BATS_TEST_TMPDIR/eval-1" "$BATS_TEST_TMPDIR/eval-3" 1e-5
    sed -i 's/rope_base: 10000/rope_base: 5000/' "$run_dir/config.yaml"
    run -2 on 2 eval "$run_dir"
    [ "$(grep -c 'model.rope_base was 10000.*5000' <<< "$output")" -eq 1 ]
}

@test "ckpt ls and verify, as table and JSON" {
    run -0 train 2 store.every=10 store.keep_last=5
    run -0 "$canto" ckpt ls "$run_dir"
    [ "${#lines[@]}" -eq 3 ]
    "$canto" ckpt ls "$run_dir" --json | jq -e 'map(.step) == [10, 20] and all(.shards == 2)'
    "$canto" ckpt ls "$run_dir" --json --step 10 | jq -e 'map(.step) == [10]'
    "$canto" ckpt verify "$run_dir" --json | jq -e 'length == 2 and all(.good)'
    run -3 "$canto" ckpt verify "$run_dir" --step 7
    run -3 "$canto" ckpt verify "$BATS_TEST_TMPDIR/nowhere"
    run -3 "$canto" ckpt ls "$BATS_TEST_TMPDIR/nowhere"
    run -3 "$canto" ckpt ls "$BATS_TEST_TMPDIR"
    [[ "$output" == *"holds no checkpoint; train first"* ]]
    run -3 "$canto" generate "$run_dir" --step 77
    [[ "$output" == *"no committed checkpoint"*'`canto ckpt ls` lists those that are'* ]]
    printf 'x' | dd of="$(ls "$run_dir"/checkpoints/step-00000020/shard-*.h5 | head -1)" bs=1 seek=3000 conv=notrunc status=none
    run -3 "$canto" ckpt verify "$run_dir"
    [ "$(grep -c "shard-" <<< "$output")" -eq 1 ]
    [[ "$output" == *"of 2 checked in $run_dir/checkpoints, not good: 1;"* ]]
    rm -r "$run_dir/checkpoints/step-00000010"
    run -3 "$canto" generate "$run_dir"
    [[ "$output" != *"before it"* && "$output" == *"no checkpoint in $run_dir/checkpoints is usable; put a good one back, "*"shard-"* ]]
}

@test "config show tells value and origin; config keys tells all keys" {
    run -0 "$canto" config show "$config" train.lr=0.25
    grep -E 'train\.lr +0\.25 +command line' <<< "$output"
    grep -E 'train\.clip .*default' <<< "$output"
    "$canto" config show "$config" --json | jq -e . > /dev/null
    run -0 "$canto" config keys
    [[ "$output" == *"layout"* ]]
    [[ "$output" == *"lasp2: W(W-1) messages"* ]]
    "$canto" config keys --json | jq -e '(map(.key) | index("train.lr")) and (.[] | select(.key == "parallel.softmax") | .choices | length == 3)'
}

@test "commands of one process do their work once, also under mpirun" {
    run -0 alone train.steps=1
    for command in "ckpt ls $run_dir" "ckpt verify $run_dir" "config show $config" "config keys" man --version --help "generate $run_dir -n 5"; do
        "$canto" $command > "$BATS_TEST_TMPDIR/one"
        on 3 $command > "$BATS_TEST_TMPDIR/three"
        cmp "$BATS_TEST_TMPDIR/one" "$BATS_TEST_TMPDIR/three"
    done
    run -3 on 2 ckpt verify "$BATS_TEST_TMPDIR/nowhere"
    [ "$(grep -c nowhere <<< "$output")" -eq 1 ]
}

@test "wrong commands and arguments end with exit code 2 and one sentence" {
    run -2 "$canto" trian
    [[ "$output" == *"trian"* ]]
    run -2 "$canto" generate "$run_dir" -n 5x
    [[ "$output" == *"5x"* ]]
    run -2 "$canto" ckpt list "$run_dir"
    [[ "$output" == *"'ckpt list' is not a command"* ]]
    run -2 "$canto" ckpt
    [[ "$output" == *"'ckpt' needs one of its commands; "* ]]
    run -2 "$canto" man trian
    run -2 "$canto" eval
    run -3 "$canto" generate "$BATS_TEST_TMPDIR/nowhere"
    [[ "$output" == *"no checkpoint"* ]]
}

@test "compare-losses: agreement, difference, a missing step" {
    mkdir "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
    printf '%s\n' '{"step":0,"event":"start"}' '{"step":1,"loss":2.0}' '{"step":2,"loss":1.0,"lr":5}' > "$BATS_TEST_TMPDIR/a/metrics.jsonl"
    printf '%s\n' '{"step":1,"loss":9.0}' '{"step":2,"loss":1.00001}' > "$BATS_TEST_TMPDIR/b/metrics.jsonl"
    run -0 "$root/launch/compare-losses" "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 2 2 1e-4
    [[ "$output" == *"1.0e-05"* ]]
    run -1 "$root/launch/compare-losses" "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 2 2 1e-6
    run -1 "$root/launch/compare-losses" "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1 2 1e-4
    run -1 "$root/launch/compare-losses" "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 2 3 1e-4
    [[ "$output" == *"step 3 is missing"* ]]
}
