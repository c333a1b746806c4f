# Completion of mt1bridge for bash: commands, their options, and files where a file is meant.
# A test compares the words below with what the commands know.

_mt1bridge() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words
    COMPREPLY=()
    case $prev in
    -c | --config | --output | --ready-file | --tls-cert | --tls-key)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    esac
    if ((COMP_CWORD == 1)); then
        words="run check devices monitor journal simulate demo version --help --version"
    else
        case ${COMP_WORDS[1]} in
        run) words="--help --config" ;;
        check) words="--help --config --json" ;;
        devices) words="--help --config --json" ;;
        monitor) words="--help --config --json" ;;
        journal) words="list export verify --help --config --json" ;;
        simulate)
            words="--help --host --port --device --username --password --traffic --speed --seed --tls-cert --tls-key
                --ready-file"
            ;;
        demo) words="--help" ;;
        version) words="--help --json" ;;
        *) return ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _mt1bridge mt1bridge
