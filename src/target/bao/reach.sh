# Tells whether a TCP port can be reached from here: whatever answers there counts.
tries=$((patience + 1))
while :; do
    status=0
    curl --silent --output /dev/null --insecure --connect-timeout 4 --max-time 6 "https://$address:$port/" || status=$?
    case $status in
        6) why="$address is no name that this host knows" ;;
        7) why='refused, or no route' ;;
        28) why='no answer in time (a firewall?)' ;;
        *) exit 0 ;;
    esac
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then break; fi
    sleep 0.5
done
echo "$why" >&2
exit 1
