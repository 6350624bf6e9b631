# Data from the command line: directories of texts, llm.c shards, orders, and batches that replicas share unevenly.
load helpers

# FILE WIDTH VOCAB: a shard of the test's text, a token a word below VOCAB; 0 ends a line.
shard() {
    perl -e '
        my ($file, $width, $vocab, %word, @tokens) = @ARGV;
        while (my $line = <STDIN>) {
            push @tokens, map { $word{$_} //= 1 + keys(%word) % ($vocab - 1) } split " ", $line;
            push @tokens, 0;
        }
        my @head = $width == 2 ? (20240520, 1) : (20240801, 7);
        open my $out, ">:raw", $file or die;
        print $out pack("l<256", @head, scalar @tokens, (0) x 253), pack($width == 2 ? "S<*" : "L<*", @tokens);
    ' "$@" < "$text"
}

@test "a directory of texts, packed, in uneven batches: 2 ranks continued on 1 are 1 rank" {
    mkdir -p "$BATS_TEST_TMPDIR/texts/b" "$BATS_TEST_TMPDIR/texts/.no"
    head -c 30000 "$text" > "$BATS_TEST_TMPDIR/texts/z.txt"
    tail -c +30001 "$text" | head -c 20000 > "$BATS_TEST_TMPDIR/texts/b/one"
    tail -c +50001 "$text" > "$BATS_TEST_TMPDIR/texts/a"
    head -c 9999 "$text" > "$BATS_TEST_TMPDIR/texts/.no/hidden"
    packed=(data.path="$BATS_TEST_TMPDIR/texts" data.separator=$'\n' data.order=packed train.batch=3)
    run -0 alone run.dir="$run_dir-1" "${packed[@]}"
    [[ "$output" == *"64790 bytes in 3 files"*"order packed"* ]]
    run -75 train 2 "${packed[@]}" parallel.dp=2 train.stop_after=8
    run -2 alone "${packed[@]}" data.order=cut
    [[ "$output" == *"data.order was packed"*"is now cut"* ]]
    run -0 alone "${packed[@]}" data.max_documents=100
    field loss "$run_dir-1/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
    run -0 on 2 eval "$run_dir"
    [[ "$output" == *"bits/byte"* ]]
}

@test "a shard of tokens: 2 ranks continued on 1, evaluated and generated in tokens" {
    shard "$BATS_TEST_TMPDIR/train.bin" 2 1000
    shard "$BATS_TEST_TMPDIR/held.bin" 4 1000
    tokens=(data.path="$BATS_TEST_TMPDIR/train.bin" data.held_out_path="$BATS_TEST_TMPDIR/held.bin"
        data.eot=0 data.order=cut train.seq_len=16 model.vocab=1000)
    run -0 alone run.dir="$run_dir-1" "${tokens[@]}"
    run -75 train 2 "${tokens[@]}" train.stop_after=8
    [[ "$output" == *"perplexity"* && "$output" != *"bits/byte"* ]]
    run -0 alone "${tokens[@]}"
    field loss "$run_dir-1/metrics.jsonl" > "$BATS_TEST_TMPDIR/a"
    field loss > "$BATS_TEST_TMPDIR/b"
    closer "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" 1e-5
    jq -es 'all(has("bits_per_byte") | not) and any(.event == "eval" and has("perplexity") and .tokens > 10000)' "$run_dir/metrics.jsonl"
    run -0 "$canto" eval "$run_dir" train.eval_tokens=200
    [[ "$output" == *"nats/token"*"perplexity"* && "$output" != *"byte"* ]]
    run -2 on 2 eval "$run_dir" --orders
    [ "$(grep -c 'n-gram models are of bytes' <<< "$output")" -eq 1 ]
    run -0 "$canto" generate "$run_dir" -p 5,6,7 -n 4
    [[ "$output" =~ ^5,6,7(,[0-9]+){4}$ ]]
    run -2 "$canto" generate "$run_dir" -p 5,1000
    [[ "$output" == *"no number in 0..999 at its byte 2"* ]]
    run -2 "$canto" generate "$run_dir" -n 4
}

@test "data that changed since a run began are refused until they are put back" {
    mkdir "$BATS_TEST_TMPDIR/texts"
    cp "$text" "$BATS_TEST_TMPDIR/texts/a"
    run -75 alone data.path="$BATS_TEST_TMPDIR/texts" train.stop_after=3
    echo more > "$BATS_TEST_TMPDIR/texts/b"
    run -2 train 2 data.path="$BATS_TEST_TMPDIR/texts"
    [ "$(grep -c 'texts is not what it was when this run began' <<< "$output")" -eq 1 ]
    rm "$BATS_TEST_TMPDIR/texts/b"
    run -0 train 2 data.path="$BATS_TEST_TMPDIR/texts"
    [[ "$output" == *"continues after step 3"* ]]
}

@test "a text of 100 GB is trained on in little memory" {
    head -c 4096 "$text" > "$BATS_TEST_TMPDIR/huge"
    truncate -s 100G "$BATS_TEST_TMPDIR/huge"
    run -0 "$canto" train "$config" data.path="$BATS_TEST_TMPDIR/huge" run.dir="$run_dir" train.steps=5 train.eval_tokens=1000
    rm "$BATS_TEST_TMPDIR/huge"
    [[ "$output" == *"107374182400 bytes in 1 file"* ]]
    [[ "$output" =~ whole\ process\ ([0-9]+) ]]
    [ "${BASH_REMATCH[1]}" -lt 200 ]
}

@test "data that cannot be used is told once, with exit code 2" {
    mkdir "$BATS_TEST_TMPDIR/both"
    shard "$BATS_TEST_TMPDIR/both/a.bin" 2 1000
    run -2 train 3 data.path="$BATS_TEST_TMPDIR/both/a.bin" model.vocab=500
    [ "$(grep -c 'a.bin is [0-9]*, outside of model.vocab 500' <<< "$output")" -eq 1 ]
    truncate -s 2000 "$BATS_TEST_TMPDIR/both/a.bin"
    run -2 train 2 data.path="$BATS_TEST_TMPDIR/both"
    [ "$(grep -c 'a.bin tells .* tokens of 2 bytes, but 976 bytes follow' <<< "$output")" -eq 1 ]
    shard "$BATS_TEST_TMPDIR/both/a.bin" 2 1000
    cp "$text" "$BATS_TEST_TMPDIR/both/b.txt"
    run -2 train 2 data.path="$BATS_TEST_TMPDIR/both"
    [ "$(grep -c 'holds both text' <<< "$output")" -eq 1 ]
    run -2 train 3 parallel.dp=3
    [ "$(grep -c 'train.batch' <<< "$output")" -eq 1 ]
    [ ! -e "$run_dir/checkpoints" ]
}
