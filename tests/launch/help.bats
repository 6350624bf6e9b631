# What is made from the tables of commands, options and keys: help, manual pages, completion.
load helpers

commands() { # every command, one a line, as `canto --help` lists them
    "$canto" --help | sed -n 's/^  canto \([a-z]\+\( [a-z]\+\)\?\)\(  .*\)\?$/\1/p'
}
groups() { commands | cut -d ' ' -f 1 | uniq; }
options_of() { # COMMAND: as its own help lists them
    "$canto" $1 --help | grep -oE -- '^ +(-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+' | grep -vx -- --usage
}

@test "version and help" {
    run -0 "$canto" --version
    [[ "$output" == *"HDF5"*"kernels of level "*", products by "[a-zA-Z]*" "[0-9.]* ]]
    run -0 env CANTO_ISA=portable "$canto" --version
    [[ "$output" == *"kernels of level portable, "* ]]
    run -0 "$canto" --help
    [[ "$output" == *"75"* ]]
    [ "$(commands | wc -l)" -ge 10 ]
    ! grep ' $' <<< "$output"
    run -0 "$canto" ckpt --help
    [[ "$output" == *"canto ckpt ls"*"canto ckpt verify"* ]]
}

@test "every command has its own help" {
    while read -r command; do
        run -0 "$canto" $command --help
        [[ "$output" == "Usage: canto $command"*"--help"* ]]
    done < <(commands)
}

@test "every manual page renders without a warning and names the options" {
    "$canto" man > "$BATS_TEST_TMPDIR/canto.1"
    for group in $(groups); do "$canto" man $group > "$BATS_TEST_TMPDIR/canto-$group.1"; done
    for page in "$BATS_TEST_TMPDIR"/*.1; do
        run -0 --separate-stderr env MANROFFOPT=-ww MANWIDTH=100 man --warnings -l "$page"
        echo "$page: $stderr"
        [ -z "$stderr" ]
        [[ "$(tr -s ' ' <<< "$output")" == *"NAME"*"$(basename "$page" .1) - "*"SYNOPSIS"*"DESCRIPTION"*"SEE ALSO"* ]]
    done
    while read -r command; do
        page=$(MANWIDTH=100 man -l "$BATS_TEST_TMPDIR/canto-${command%% *}.1")
        for option in $(options_of "$command" | grep -vx -- --help); do [[ "$page" == *"$option"* ]]; done
    done < <(commands)
    page=$(MANWIDTH=100 man -l "$BATS_TEST_TMPDIR/canto-ckpt.1" | tr -s ' ')
    [[ "$page" == *"[-j|--json]"*"EXAMPLES"*"canto ckpt diff RUN@100"*"SEE ALSO"* ]]
    run -0 "$canto" man ckpt ls
    [ "$output" = "$("$canto" man ckpt)" ]
    run -2 "$canto" man train page
    [[ "$output" == *"'train page' is not a command"* ]]
    run -0 bash -c "'$canto' man | man -l -"
    [[ "$output" == *"train.lr"*"EXIT STATUS"*"USR2"* ]]
}

# bash divides a line at blanks and at '='; the last word is the one that is completed.
complete_words() { # WORD...: the replies, sorted, in one line
    bash -c '
        eval "$("$0" completion bash)"
        COMP_WORDS=(canto "$@") COMP_CWORD=$#
        _canto
        printf "%s\n" "${COMPREPLY[@]}" | sort | paste -sd " "' "$canto" "$@"
}

@test "completion: commands" {
    [ "$(complete_words tr)" = train ]
    [ "$(complete_words c)" = "ckpt completion config" ]
    [ "$(complete_words '')" = "$({ groups; echo --help; echo --version; } | sort | paste -sd ' ')" ]
    [ "$(complete_words config '')" = "--help keys show" ]
    [ "$(complete_words ckpt v)" = verify ]
    [ "$(complete_words man ge)" = generate ]
    [ "$(complete_words train --)" = "$(options_of train | sort | paste -sd ' ')" ]
}

@test "completion: options of every command are those of its help" {
    while read -r command; do
        [ "$(complete_words $command -)" = "$(options_of "$command" | sort | paste -sd ' ')" ]
    done < <(commands)
    [ "$(complete_words generate RUN --te)" = --temperature ]
    [ "$(complete_words generate RUN --step 5 --pro)" = --prompt ]
    [ -z "$(complete_words generate RUN --step '')" ]
}

@test "completion: keys and their choices" {
    [ "$(complete_words train a.yaml parallel.s)" = parallel.softmax= ]
    [ "$(complete_words train a.yaml parallel.softmax =)" = "gather ring serial" ]
    [ "$(complete_words train a.yaml parallel.softmax = ri)" = ring ]
    [ "$(complete_words train a.yaml train.lr = 0.1 parallel.check = '')" = "false true" ]
    [ "$(complete_words eval RUN --step = 5 train.l)" = train.lr= ]
    [ "$(complete_words train a.yaml '' | wc -w)" = "$("$canto" config keys --json | jq length)" ]
    [ -z "$(complete_words plot RUN train.l)" ]
}

@test "completion: configurations, runs, paths of keys" {
    cd "$BATS_TEST_TMPDIR"
    mkdir run-1 "run 2" K && touch run-1/config.yaml text.yaml
    [ "$(complete_words generate run)" = "run 2 run-1" ]
    [ "$(complete_words ckpt ls run-)" = run-1 ]
    [ "$(complete_words train t)" = text.yaml ]
    [ "$(complete_words train a.yaml data.path = te)" = text.yaml ]
    [ "$(complete_words train a.yaml run.dir = run-)" = run-1 ]
    [ "$(complete_words config show t)" = "text.yaml train.accumulate= $(complete_words train a.yaml train. | cut -d ' ' -f 2-)" ]
}

@test "completion: where '=' divides no words, a value is completed with its key" {
    run -0 bash -c 'eval "$("$0" completion bash)"
        COMP_WORDBREAKS=${COMP_WORDBREAKS//=} COMP_WORDS=(canto train a.yaml parallel.linear=) COMP_CWORD=3
        _canto
        echo "${COMPREPLY[*]}"' "$canto"
    [ "$output" = "parallel.linear=lasp1 parallel.linear=lasp2" ]
}
