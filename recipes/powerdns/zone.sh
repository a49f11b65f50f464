{% set zone = settings.zone or stack.domain %}
# As `pdns`, in whose folder the database is.
as_pdns() {
    setpriv --reuid pdns --regid pdns --init-groups -- "$@"
}
if ! as_pdns pdnsutil list-zone {{ zone | shquote }} >/dev/null 2>&1; then
    as_pdns pdnsutil create-zone {{ zone | shquote }} {{ ('ns1.' ~ zone) | shquote }}
fi
{% for one in hosts %}
as_pdns pdnsutil replace-rrset {{ zone | shquote }} ns{{ loop.index }} A 3600 {{ one.address | shquote }}
{% endfor %}
