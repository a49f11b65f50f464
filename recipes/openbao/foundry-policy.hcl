# What Foundry's own token may do from day to day: keep secrets, engines and certificates, set up what recipes need, and look
# after the cluster. Nothing here leads to more rights: it writes no policy, role or identity but those that are spelled out
# below, word for word, and it can't touch seal and root, nor restore a snapshot. What needs more takes the token of an
# administrator, for as long as it takes (docs/openbao.md, "What Foundry's token may do").
path "+/data/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "+/metadata/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "+/metadata" { capabilities = ["list"] }
path "+/delete/*" { capabilities = ["update"] }
path "+/undelete/*" { capabilities = ["update"] }
path "+/destroy/*" { capabilities = ["update"] }
path "+/config" { capabilities = ["create", "read", "update"] }

# Engines are mounted and tuned, never moved or thrown away.
path "sys/mounts" { capabilities = ["read"] }
path "sys/mounts/*" { capabilities = ["create", "read", "update"] }
path "sys/mounts/auth/*" { capabilities = ["read"] }

# Engines that recipes mount.
path "pki*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "ssh*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "transit*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }

# Who may log in and what for is compared, not changed.
path "sys/auth" { capabilities = ["read"] }
path "auth/*" { capabilities = ["read", "list"] }
path "auth/token/accessors" { capabilities = ["list", "sudo"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "identity/*" { capabilities = ["read", "list"] }
path "sys/policy" { capabilities = ["read", "list"] }
path "sys/policy/*" { capabilities = ["read"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/*" { capabilities = ["read"] }

# What the recipe cert-manager sets up: a login for one role of one engine.
path "sys/policy/cert-manager" {
  capabilities       = ["create", "read", "update"]
  allowed_parameters = { "name" = ["cert-manager"], "policy" = [
    "# What cert-manager may do: have certificates signed by one role, nothing else.\npath \"pki-cluster/sign/cluster\" { capabilities = [\"create\", \"update\"] }",
    "# What cert-manager may do: have certificates signed by one role, nothing else.\npath \"pki-cluster/sign/cluster\" { capabilities = [\"create\", \"update\"] }\n",
  ] }
}
path "sys/auth/approle" {
  capabilities       = ["create", "read", "update", "sudo"]
  allowed_parameters = { "type" = ["approle"] }
}
path "auth/approle/role/cert-manager" {
  capabilities       = ["create", "read", "update"]
  allowed_parameters = { "token_policies" = [["cert-manager"]], "token_ttl" = [], "token_max_ttl" = [] }
}
path "auth/approle/role/cert-manager/role-id" {
  capabilities       = ["create", "read", "update"]
  allowed_parameters = { "role_id" = ["cert-manager"] }
}
path "auth/approle/role/cert-manager/custom-secret-id" {
  capabilities       = ["create", "update"]
  allowed_parameters = { "secret_id" = [] }
}

# The cluster.
path "sys/audit" { capabilities = ["read", "sudo"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/ha-status" { capabilities = ["read"] }
path "sys/host-info" { capabilities = ["read"] }
path "sys/metrics" { capabilities = ["read"] }
path "sys/storage/raft/configuration" { capabilities = ["read"] }
path "sys/storage/raft/autopilot/*" { capabilities = ["read"] }
path "sys/storage/raft/remove-peer" { capabilities = ["update"] }
path "sys/storage/raft/snapshot" { capabilities = ["read"] }
