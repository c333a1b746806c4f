# Completion of mt1bridge for bash: commands, their options, and files where a file is meant.
# A test compares the words below with what the commands know.

_mt1bridge() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
    local chosen="--help --config --directory --device --channel --since --until --start-number --final"
    COMPREPLY=()
    case $prev in
    -c | --config | -o | --output | --ready-file | --tls-cert | --tls-key)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    --directory)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    --channel) words="C0 C1 C2 C3 C4 C5 C6 C7 C8" ;;
    --format) words="csv jsonl" ;;
    --traffic) words="race none" ;;
    --broker) words="auto mosquitto embedded" ;;
    --device | --since | --until | --start-number | --last | -n | --seconds | --speed | --seed | --host | --port | \
        --username | --password)
        return
        ;;
    *)
        if ((COMP_CWORD == 1)); then
            words="run check devices monitor journal simulate demo version --help --version"
        else
            case ${COMP_WORDS[1]} in
            run) words="--help --config" ;;
            check) words="--help --config --json --online" ;;
            devices | monitor) words="--help --config --json" ;;
            journal)
                case ${COMP_WORDS[2]}:$COMP_CWORD in
                *:2) words="list export verify --help" ;;
                list:*) words="$chosen --json --last" ;;
                export:*) words="$chosen --json --format --output" ;;
                verify:*) words="--help --config --directory --json" ;;
                esac
                ;;
            simulate)
                words="--help --host --port --device --username --password --traffic --speed --seed"
                words+=" --tls-cert --tls-key --ready-file"
                ;;
            demo) words="--help --seconds --broker --speed --verbose --json" ;;
            version) words="--help --json" ;;
            esac
        fi
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _mt1bridge mt1bridge
