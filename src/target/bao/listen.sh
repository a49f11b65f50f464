# Listens on a port until somebody came by, unless something else does already: for trying the way to it.
exec perl -MIO::Socket::INET -e '
    alarm 15;
    $SIG{ALRM} = sub { exit 0 };
    my $server = IO::Socket::INET->new(LocalPort => shift, Listen => 5, ReuseAddr => 1) or exit 0;
    close $server->accept;
' "$port"
