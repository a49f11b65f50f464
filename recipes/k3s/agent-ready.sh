if [ ! -s /var/lib/rancher/k3s/agent/kubelet.kubeconfig ]; then
    echo "it has not been let in by a server yet"
    exit 1
fi
curl --silent --fail --max-time 5 http://127.0.0.1:10248/healthz
