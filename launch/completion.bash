
# What follows is launch/completion.bash; the functions above are made from the program's tables:
# _canto_names WORD       names of commands, or with a group's name of the commands in it
# _canto_command A B      sets taken, positional and options for the command called A, or A B
# _canto_option NAME      sets value: the word for the value of --NAME or -N, empty for a flag
# _canto_completes WORD   sets kind for a word in capitals: file directory key command, or empty
# _canto_keys             keys of a configuration
# _canto_choices KEY      sets choices and kind of a key's value

# Replies with those of the words $1 that begin with $2, each after the prefix $3.
_canto_reply()
{
    local word
    for word in $1; do
        [[ $word != "$2"* ]] || COMPREPLY+=("$3$word")
    done
}

# Replies with paths that begin with $2, each after the prefix $3: directories for $1 = directory.
_canto_paths()
{
    local path action=-f
    [[ $1 != directory ]] || action=-d
    compopt -o filenames 2> /dev/null
    while IFS= read -r path; do COMPREPLY+=("$3$path"); done < <(compgen "$action" -- "$2")
}

# Replies with what a word in capitals stands for.
_canto_word()
{
    local kind='' choices='' given=${2%%=*}
    _canto_completes "$1"
    case $kind in
    file | directory) _canto_paths "$kind" "$2" "$3" ;;
    command) _canto_reply "$(_canto_names '')" "$2" "$3" ;;
    key)
        if [[ $2 != *=* ]]; then
            _canto_reply "$(_canto_keys)" "$2" "$3"
            [[ ${COMPREPLY[*]} != *=* ]] || compopt +o filenames -o nospace 2> /dev/null
            return
        fi
        local before=$given=
        [[ $COMP_WORDBREAKS != *=* ]] || before=
        kind=
        _canto_choices "$given"
        _canto_reply "$choices" "${2#*=}" "$before"
        [[ -z $kind ]] || _canto_paths "$kind" "${2#*=}" "$before"
        ;;
    esac
}

# The positional arguments that the current one may be: the $1-th, and while it is optional the next.
_canto_positional()
{
    local at=0 word name
    local -a list
    read -ra list <<< "$positional"
    for word in "${list[@]}"; do
        name=${word#[} name=${name%]} name=${name%...}
        [[ $word != *...* ]] || at=$1
        if ((at >= $1)); then
            _canto_word "$name" "$2" ''
            [[ $word == \[* && $2 != *=* ]] || return
        fi
        ((at += 1))
    done
}

_canto_arguments()
{
    local current=$1 value='' before n=0 i
    if [[ $current == --*=* ]]; then
        before=${current%%=*}=
        [[ $COMP_WORDBREAKS != *=* ]] || before=
        _canto_option "${current%%=*}"
        _canto_word "$value" "${current#*=}" "$before"
        return
    fi
    if [[ $current == -* ]]; then
        for i in $options --help; do
            value=
            _canto_option "$i"
            _canto_reply "$i" "$current" ''
        done
        return
    fi
    for ((i = taken + 1; i < ${#words[@]}; i++)); do
        value=
        [[ ${words[i - 1]} != -* || ${words[i - 1]} == *=* ]] || _canto_option "${words[i - 1]}"
        [[ -n $value || ${words[i]} == -* ]] || ((n += 1))
    done
    if [[ -n $value ]]; then
        _canto_word "$value" "$current" ''
    else
        _canto_positional $((n - 1)) "$current"
    fi
}

_canto()
{
    local -a words=()
    local i joined='' taken=0 positional='' options=''
    for ((i = 0; i <= COMP_CWORD; i++)); do # bash divides "key=value" into three words
        if [[ -n $joined || (${COMP_WORDS[i]} == = && i -gt 1) ]]; then
            words[-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
        joined=
        [[ ${COMP_WORDS[i]} != = ]] || joined=yes
    done
    COMPREPLY=()
    local last=$((${#words[@]} - 1))
    if ((last == 1)); then
        _canto_reply "$(_canto_names '') --help --version" "${words[1]}" ''
        return
    fi
    _canto_command "${words[1]}" "${words[2]}"
    if ((taken > 0 && last > taken)); then
        _canto_arguments "${words[last]}"
    elif ((last == 2)); then
        _canto_reply "$(_canto_names "${words[1]}") --help" "${words[2]}" ''
    fi
}

complete -F _canto canto
