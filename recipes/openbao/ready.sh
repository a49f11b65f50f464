code=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 5 --cacert /opt/openbao/tls/ca.pem https://127.0.0.1:8200/v1/sys/health || :)
case $code in
    # Active, standby, or waiting to be initialised.
    200 | 429 | 472 | 473 | 501) ;;
{% if settings.seal == 'shamir' %}
    # Sealed: the unseal step comes next.
    503) ;;
{% endif %}
    *)
        echo "its health answers $code (503: sealed, 000: nothing)"
        exit 1
        ;;
esac
{% if settings.storage == 'raft' %}
# The next one is restarted only once this one has found the leader again: two of three at once would have no quorum.
# One that was never initialised, or is sealed, has none to find; nor has the first to start after all were down.
case $1:$code in
    start:*) ;;
    *:200 | *:429 | *:472 | *:473)
        leader=$(curl --silent --max-time 5 --cacert /opt/openbao/tls/ca.pem https://127.0.0.1:8200/v1/sys/leader || :)
        case $leader in
            *'"leader_address":"http'*) ;;
            *)
                echo "it knows no leader: are most of the cluster's hosts up? ($leader)"
                exit 1
                ;;
        esac
        ;;
esac
{% endif %}
