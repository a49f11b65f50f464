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
