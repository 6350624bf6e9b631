# The same runs on the shadow device, which finds every use of a tensor by the host and every wait
# that was left out.
load helpers

setup_file() {
    "${CANTO:-$BATS_TEST_DIRNAME/../../build/canto}" config show run.device=shadow > /dev/null 2>&1 || export NO_SHADOW=1
}

needs_shadow() {
    if [ -n "${NO_SHADOW:-}" ]; then skip "built without the shadow"; fi
}

on_both() { # RANKS [KEY=VALUE...]: the same training on the cpu and on the shadow, in run directories of their names
    local device
    for device in cpu shadow; do
        run -0 train "$@" run.device=$device run.dir="$run_dir-$device"
    done
}

@test "the shadow has the cpu's bits: losses, norms and checkpoints" {
    needs_shadow
    for n in 1 2; do
        rm -rf "$run_dir-cpu" "$run_dir-shadow"
        on_both $n train.steps=6 store.every=3
        diff <(field loss_bits "$run_dir-cpu/metrics.jsonl") <(field loss_bits "$run_dir-shadow/metrics.jsonl")
        diff <(field grad_norm_bits "$run_dir-cpu/metrics.jsonl") <(field grad_norm_bits "$run_dir-shadow/metrics.jsonl")
        for step in 3 6; do
            run on 1 ckpt diff "$run_dir-cpu@$step" "$run_dir-shadow@$step"
            [[ "$output" == *" 0 that differ"* ]]
        done
    done
}

@test "a run stopped on the shadow goes on on the cpu, on other ranks" {
    needs_shadow
    run -0 train 2 run.dir="$run_dir-whole"
    run -75 train 2 train.stop_after=7 run.device=shadow
    run -0 train 3 run.device=cpu
    field loss "$run_dir-whole/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
}

@test "a trace of a device that goes on late holds both ends of every message" {
    needs_shadow
    run -0 train 3 run.device=shadow train.steps=4 --trace "$BATS_TEST_TMPDIR/trace.json" --trace-steps 2-3
    run -0 jq -r --argjson ranks 3 -f "$BATS_TEST_DIRNAME/trace.jq" "$BATS_TEST_TMPDIR/trace.json"
    [ "$output" = good ]
}
