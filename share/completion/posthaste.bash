# bash completion of posthaste: the program itself knows its commands, options, lists and campaigns, and is asked for what may stand next.
# Installed by the build; else: source <(posthaste completion bash)
_posthaste() {
    local line word typed=${COMP_WORDS[COMP_CWORD]} quoted=false
    case $typed in [\"\']*) quoted=true ;; esac
    [ "$typed" != = ] || typed=
    COMPREPLY=()
    while IFS= read -r line; do
        word=${line%%$'\t'*}
        if [ "$line" = :files ]; then
            compopt -o filenames
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$typed")
        elif $quoted; then
            COMPREPLY+=("$word")
        else
            COMPREPLY+=("$(printf %q "$word")")
        fi
    done < <("${COMP_WORDS[0]/#\~/$HOME}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _posthaste posthaste
