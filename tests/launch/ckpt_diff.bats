# ckpt diff: what differs between two checkpoints, whoever wrote them.
load helpers

differ() { "$canto" ckpt diff "$@"; }

@test "ckpt diff: a checkpoint is equal to itself and to its copy, and not to the next step's" {
    run -75 train 2 store.every=1 train.stop_after=2
    run -0 differ "$run_dir" "$run_dir@2"
    [[ "$output" == *"equal: step 2 | 2, "*" 0 that differ"* ]]
    cp -r "$run_dir" "$run_dir-b"
    run -0 differ "$run_dir@1" "$run_dir-b@1"
    run -1 differ "$run_dir@1" "$run_dir-b"
    grep -Eq '^state.step +1 \| 2$' <<< "$output"
    run -1 differ "$run_dir@1" "$run_dir-b" --json
    jq -e '.equal == false and .steps == [1, 2] and (.tensors | length) > 0 and (.config == [{key: "state.step", a: "1", b: "2", counts: true}, {key: "state.samples", a: (.config[1].a), b: (.config[1].b), counts: true}])' <<< "$output"
}

@test "ckpt diff: two ranks and one write what differs by rounding, told with place and size" {
    run -75 alone run.dir="$run_dir-a" train.stop_after=3
    run -75 train 2 run.dir="$run_dir-b" train.stop_after=3 parallel.linear=lasp1
    run -1 differ "$run_dir-a" "$run_dir-b" --json
    jq -e '.steps == [3, 3] and (.tensors | all(.difference == "values" and .differing > 0 and .first >= 0 and .first < .elements
        and .max_abs < 1e-3 and .not_finite == 0))
        and (.config | map(select(.key == "parallel.linear")) == [{key: "parallel.linear", a: "lasp2", b: "lasp1", counts: false}])' <<< "$output"
    run -1 differ "$run_dir-a" "$run_dir-b"
    [[ "$output" == *"run.dir"*"(free to differ)"*"different: step 3 | 3"* ]]
}

@test "ckpt diff: other shapes and missing tensors are named" {
    run -75 alone run.dir="$run_dir-a" train.stop_after=1
    run -75 alone run.dir="$run_dir-b" train.stop_after=1 model.d_mlp=64 model.layers=3
    run -1 differ "$run_dir-a" "$run_dir-b"
    [[ "$output" == *"model.layers"*"2 | 3"* ]]
    [[ "$output" == *"param/blocks.0.mlp."*"f32["*" | f32["* ]]
    [[ "$output" == *"param/blocks.2."*"only in $run_dir-b"* ]]
    run -1 differ "$run_dir-b" "$run_dir-a" --json
    jq -e '.tensors | any(.difference == "only in a" and (.name | startswith("adam.first/blocks.2"))) and any(.difference == "shape" and .a != .b)' <<< "$output"
}

@test "ckpt diff: damage is refused with exit code 3, a step that is not there and no run too" {
    run -75 alone run.dir="$run_dir-a" train.stop_after=1
    cp -r "$run_dir-a" "$run_dir-b"
    printf 'x' | dd of="$(ls "$run_dir-b"/checkpoints/step-*/shard-*.h5)" bs=1 seek=3000 conv=notrunc status=none
    run -3 differ "$run_dir-a" "$run_dir-b"
    [[ "$output" == *"shard-"* ]]
    run -3 differ "$run_dir-b@1" "$run_dir-a"
    run -3 differ "$run_dir-a" "$run_dir-a@7"
    run -3 differ "$run_dir-a" "$BATS_TEST_TMPDIR/nowhere"
    run -2 differ "$run_dir-a"
}
