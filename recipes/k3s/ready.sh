metrics=$(curl --silent --fail --max-time 5 http://127.0.0.1:2381/metrics) || {
    echo "its etcd does not answer yet"
    exit 1
}
case "
$metrics
" in
    *"
etcd_server_is_learner 0
"*) ;;
    *)
        echo "its etcd is not a voter yet"
        exit 1
        ;;
esac
case "
$metrics
" in
    *"
etcd_server_has_leader 1
"*) ;;
    *)
        # One that has voted before and finds no leader when it starts is the first to come back after all were down: the
        # next may start. One that was cut off while it joined has never voted, and its etcd does not say so until it has a leader.
        if [ "$1" = start ] && [ -e /var/lib/rancher/k3s/server/db/foundry-voted ]; then exit 0; fi
        echo "its etcd knows no leader: are most of the servers up?"
        exit 1
        ;;
esac
/opt/foundry/k3s/{{ settings.version }}/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml --request-timeout=10s get --raw=/readyz
: >/var/lib/rancher/k3s/server/db/foundry-voted
