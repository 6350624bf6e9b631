# The doctor, alone and on several ranks.
load helpers

verdict() { jq -r --arg check "$1" '.[] | select(.check == $check).verdict'; }

@test "doctor: one line a check, advice under what is not well, exit code 0 unless something fails" {
    run -0 env -u OMP_NUM_THREADS "$canto" doctor "$BATS_TEST_TMPDIR"
    [ "$(grep -cE '^(ok|warn|FAIL) ' <<< "$output")" -ge 17 ]
    [ "$(grep -cE '^(warn|FAIL) ' <<< "$output")" -eq "$(grep -c ' -> ' <<< "$output")" ]
    [[ "$output" == *"MPI"*"starts, thread level"* ]]
    [[ "$output" == *"0 that do not work" ]]
    [ -z "$(ls -A "$BATS_TEST_TMPDIR" | grep doctor)" ]
}

@test "doctor: a directory that cannot be written and too many threads are found, as table and JSON" {
    run -1 env OMP_NUM_THREADS=999 "$canto" doctor /proc --json
    [ "$(verdict "run directory" <<< "$output")" = FAIL ]
    [ "$(verdict threads <<< "$output")" = warn ]
    jq -e 'all(.verdict == "ok" or .advice != "")' <<< "$output"
    run -1 "$canto" doctor "$BATS_TEST_TMPDIR/nowhere"
    [[ "$output" == *"FAIL  run directory"*"nowhere"*"1 that do not work" ]]
}

@test "doctor: ranks look at each other, and each failing one is named" {
    run -0 on 3 doctor "$BATS_TEST_TMPDIR" --json
    for check in ranks "same program"; do [ "$(verdict "$check" <<< "$output")" = ok ]; done
    jq -e '.[] | select(.check == "messages").finding | test("ranks 0 and 2 .one host.: [0-9.]+ us, [0-9.]+ GB/s")' <<< "$output"
    jq -e '.[] | select(.check == "ranks").finding | test("^3 on 1 host ")' <<< "$output"
    run -1 mpirun -q --timeout 60 -n 1 "$canto" doctor "$BATS_TEST_TMPDIR" : -n 1 "$canto" doctor /proc
    [[ "$output" == *"FAIL  run directory"*"rank 1: /proc"* ]]
}

@test "doctor: another build on one rank is found" {
    cp "$canto" "$BATS_TEST_TMPDIR/other"
    printf ' ' >> "$BATS_TEST_TMPDIR/other"
    run -1 mpirun -q --timeout 60 -n 2 "$canto" doctor "$BATS_TEST_TMPDIR" : -n 1 "$BATS_TEST_TMPDIR/other" doctor "$BATS_TEST_TMPDIR"
    [[ "$output" == *"FAIL  same program"*"rank 2"*"runs another program"* ]]
}
