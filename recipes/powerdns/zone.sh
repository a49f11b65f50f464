{% set zone = settings.zone or stack.domain %}
if ! pdnsutil list-zone {{ zone | shquote }} >/dev/null 2>&1; then
    pdnsutil create-zone {{ zone | shquote }} {{ ('ns1.' ~ zone) | shquote }}
fi
{% for one in hosts %}
pdnsutil replace-rrset {{ zone | shquote }} ns{{ loop.index }} A 3600 {{ one.address | shquote }}
{% endfor %}
