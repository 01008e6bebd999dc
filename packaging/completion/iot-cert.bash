# Completes iot-cert's verbs, their actions and their options.
# shellcheck shell=bash disable=SC2207 # words without blanks
_iot_cert() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb="" action="" item words=""
    local verbs="check cloud config confirm deploy enroll explain help history import pause resume retire rollback rotate run sandbox status"
    verbs="$verbs report support-bundle trust"
    case $before in
        --config | --anchors | --archive | --public-key | --from | --certificate | --password-file | --output | --html | --csv | --journal) COMPREPLY=($(compgen -f -- "$word")); return ;;
        --dir | --claim | --directory) COMPREPLY=($(compgen -d -- "$word")); return ;;
        --reason | --wait | --sha256 | --key | --old-root-key | --threshold | --expires | --renew | --compatible | --drop) return ;;
        --target | --without-amazon | --time | --host | --listen | --lifetime | --probation | --thing | --serial | --endpoint | --port) return ;;
        --stack | --region | --profile | --thing-prefix | --for | --state | --query | --group | --window) return ;;
        --per-minute | --abort-percent | --abort-after | --serial-attribute | --per-second) return ;;
        --by) COMPREPLY=($(compgen -W "job shadow" -- "$word")); return ;;
    esac
    for item in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case " $verbs " in *" $item "*) verb=${verb:-$item} ;; esac
        if [ -n "$verb" ] && [ "$item" != "$verb" ]; then
            case $item in list | check | hand-over | install | restore | publish) action=${action:-$item} ;; esac
            case $verb.$item in
                cloud.arm | cloud.devices | cloud.block | cloud.readmit | cloud.status | cloud.rotate | cloud.orphans | cloud.ca | cloud.adopt | cloud.setup | cloud.first-deployment) action=${action:-$item} ;;
            esac
        fi
    done
    case $verb${action:+ $action} in
        "") words="$verbs --config --json --help --version" ;;
        help) words=$verbs ;;
        config) words="check hand-over" ;;
        cloud) words="adopt arm block ca check devices first-deployment orphans readmit rotate setup status" ;;
        "cloud arm") words="--json --stack --region --profile --csv --thing --thing-prefix --for" ;;
        "cloud devices") words="--json --stack --region --profile --state --refused --for" ;;
        "cloud block") words="--json --stack --region --profile --cut-off --yes" ;;
        "cloud readmit") words="--json --stack --region --profile --for --same-token" ;;
        "cloud status") words="--json --stack --region --profile --query" ;;
        "cloud rotate") words="--json --stack --region --profile --group --query --reason --by --per-minute"
            words="$words --abort-percent --abort-after --window --dry-run --yes" ;;
        "cloud check") words="--json --stack --region --profile --lifetime" ;;
        "cloud ca") words="--json --stack --region --profile --new --renew --retire --sign --years --csr --certificate --from --yes" ;;
        "cloud adopt") words="--json --stack --region --profile --query --apply --undo --journal --serial-attribute"
            words="$words --per-second --yes" ;;
        "cloud setup") words="--json --stack --region --profile --claim --yes" ;;
        "cloud orphans") words="--json --stack --region --profile --all" ;;
        "cloud first-deployment") words="--json --stack --region --profile --directory --serial --endpoint --port --anchors --clean-up --yes" ;;
        trust) words="check install list publish restore" ;;
        enroll | "trust restore") words="--json --reason --no-wait --wait" ;;
        rollback) words="--json --reason --no-wait --wait --give-up" ;;
        confirm) words="--json --no-wait --wait" ;;
        rotate) words="--json --reason --no-wait --wait --dry-run" ;;
        import) words="--json --from --thing --password-file --replace-anchors --unproven --reason --no-wait --wait" ;;
        deploy) words="--json --afresh --serve" ;;
        support-bundle) words="--json --output" ;;
        report) words="--json --html" ;;
        pause) words="--json --reason" ;;
        retire) words="--json --now --drop" ;;
        status) words="--json --watch" ;;
        check) words="--json configuration disk files clock set anchors watched endpoint dns tcp tls server connect"
            words="$words permissions daemon dependants" ;;
        "trust check") words="--json --any $(compgen -f -- "$word")" ;;
        "trust install") words="--json --sha256 --reason --no-wait --wait $(compgen -f -- "$word")" ;;
        "trust publish") words="--json --anchors --key --public-key --old-root-key --threshold --expires --renew"
            words="$words --compatible --replace-keys --target --without-amazon --time --archive $(compgen -d -- "$word")" ;;
        sandbox) words="--json --dir --host --listen --lifetime --probation" ;;
        *) words=--json ;;
    esac
    case $verb${action:+ $action} in help | trust | config | cloud* | sandbox | "trust publish") ;; *) words="$words --config" ;; esac
    COMPREPLY=($(compgen -W "$words --help" -- "$word"))
}
complete -o filenames -F _iot_cert iot-cert
