# Made by Foundry from the stack's config: changes here are overwritten.
cluster_name = {{ stack.name | hcl }}
api_addr     = {{ ('https://' ~ (host.labels['internal-address'] | default(host.address)) ~ ':8200') | hcl }}
cluster_addr = {{ ('https://' ~ (host.labels['internal-address'] | default(host.address)) ~ ':8201') | hcl }}

ui        = {{ settings.ui | hcl }}
log_level = {{ settings.log_level | hcl }}

default_lease_ttl = {{ settings.lease_default | hcl }}
max_lease_ttl     = {{ settings.lease_max | hcl }}

{% if settings.storage == 'raft' %}
storage "raft" {
  path    = "/opt/openbao/data"
  node_id = {{ host.name | hcl }}
  # What upstream advises for production: a lost leader is noticed in a second, not in five.
  performance_multiplier = 1
}
{% else %}
storage "postgresql" {
  connection_url = {{ settings.connection_url | hcl }}
  ha_enabled     = "true"
}
{% endif %}

listener "tcp" {
  address         = {{ (settings.listen ~ ':8200') | hcl }}
  tls_cert_file   = "/opt/openbao/tls/cert.pem"
  tls_key_file    = "/opt/openbao/tls/key.pem"
  tls_min_version = "tls12"
{% if settings.generate_root %}
  disable_unauthed_generate_root_endpoints = false
{% endif %}
}
{% if settings.seal == 'static' %}

seal "static" {
  current_key_id = {{ steps['seal-key'].id | hcl }}
  current_key    = "file:///run/credentials/openbao.service/seal"
}
{% endif %}
{% if settings.audit.enabled %}

audit "file" "file" {
  options {
    file_path = {{ (settings.audit.folder ~ '/audit.jsonl') | hcl }}
  }
}
{% endif %}
