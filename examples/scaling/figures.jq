# From the JSON objects of steps.c, one for each number of ranks, to medians and ranges (10th to 90th percentile).
def spread: sort | {median: .[(length - 1) / 2 | floor], low: .[(length - 1) * 0.1 | floor], high: .[(length - 1) * 0.9 | ceil]};
def times(f): [.[] | f];

. as $runs
| ($runs[0].cores) as $cores
| ($runs | map(.product_s[] * 1e3) | spread) as $product
| ($runs[0].strategies | map({key: .name, value: (.step_s | spread | .median)}) | from_entries) as $base
| {
    machine: "\($processor), \($cores) cores; one thread a rank; \($runs[0].tokens) tokens a step",
    build: $build,
    cores: $cores, tokens: $runs[0].tokens, rounds: ($runs[0].product_s | length),
    noise: {what: "a product of 384 x 384 matrices between the rounds, ms", median: $product.median, low: $product.low, high: $product.high},
    rows: [
        $runs[] | . as $run | .strategies[]
        | . as $s
        | {
            name, ranks: $run.ranks,
            step_ms: (.step_s | map(. * 1e3) | spread),
            tokens_per_s: (.step_s | map($run.tokens / .) | spread),
            efficiency: (.step_s | map($base[$s.name] * $runs[0].ranks / (. * $run.ranks)) | spread),
            exposed: ([.step_s, .wait_s] | transpose | map(.[1] / .[0]) | spread),
            schedule_bytes, schedule_formula, gradient_bytes, gradient_formula
        }
    ]
}
