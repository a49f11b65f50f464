# What cert-manager may do: have certificates signed by one role, nothing else.
path "pki-cluster/sign/cluster" { capabilities = ["create", "update"] }
