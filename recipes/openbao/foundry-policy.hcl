# What Foundry's own token may do: keep mounts, policies, roles, identities and secrets, and look after the
# cluster. It can't touch seal and root: rekeying, root tokens and raft restores take the key holders.
path "+/data/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "+/metadata/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "+/metadata" { capabilities = ["list"] }
path "+/delete/*" { capabilities = ["update"] }
path "+/undelete/*" { capabilities = ["update"] }
path "+/destroy/*" { capabilities = ["update"] }
path "+/config" { capabilities = ["create", "read", "update"] }

path "sys/mounts" { capabilities = ["read"] }
path "sys/mounts/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/remount" { capabilities = ["update", "sudo"] }
path "sys/auth" { capabilities = ["read"] }
path "sys/auth/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "auth/*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }
path "identity/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "sys/policy" { capabilities = ["read", "list"] }
path "sys/policy/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policies/acl/*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/audit" { capabilities = ["read", "sudo"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/leases/*" { capabilities = ["create", "read", "update", "list", "sudo"] }
path "sys/ha-status" { capabilities = ["read"] }
path "sys/host-info" { capabilities = ["read"] }
path "sys/metrics" { capabilities = ["read"] }
path "sys/step-down" { capabilities = ["update", "sudo"] }
path "sys/storage/raft/configuration" { capabilities = ["read"] }
path "sys/storage/raft/autopilot/*" { capabilities = ["create", "read", "update"] }
path "sys/storage/raft/remove-peer" { capabilities = ["update"] }
path "sys/storage/raft/snapshot" { capabilities = ["read"] }

# Engines that recipes mount.
path "pki*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }
path "ssh*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "transit*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
