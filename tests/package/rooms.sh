#!/bin/sh
# rooms.sh            fails if a file of src/ or include/warren/ includes a room above its own, a neighbour, or a file without
#                     a room, and names file and line; it fails too if the picture in CONTRIBUTING.md is not today's
# rooms.sh --picture  prints that picture: which room includes which
# SOURCE is the project's folder; by default the one that holds this script.
set -eu
cd "${SOURCE:-$(dirname "$0")/../..}"

look() {
  find src include/warren -name '*.[ch]pp' ! -path include/warren/warren.hpp | LC_ALL=C sort | xargs awk -v task="$1" '
    BEGIN {
      # From the bottom to the top. Rooms on one floor are neighbours, which do not know each other.
      floors = split("values,wire,engine,client,retry,parking consumer", floor_rooms, ",")
      for (f = 1; f <= floors; ++f) {
        n = split(floor_rooms[f], rooms, " ")
        for (r = 1; r <= n; ++r) { floor[rooms[r]] = f; order[++count] = rooms[r] }
      }
      # The rooms of the public headers. What is not here is a value.
      room_of_header["channel"] = room_of_header["connection"] = room_of_header["exchange"] = "client"
      room_of_header["publisher"] = room_of_header["queue"] = "client"
      room_of_header["retry_policy"] = "retry"
      room_of_header["parking_lot"] = "parking"
      room_of_header["consumer"] = room_of_header["consumer_options"] = "consumer"
      room_of_header["warren"] = "none: it is the programs\047 own"
    }
    function room_of(path,  parts, header) {
      if (path ~ /^warren\//) {
        header = path
        sub(/^warren\//, "", header)
        sub(/\.hpp$/, "", header)
        return header in room_of_header ? room_of_header[header] : "values"
      }
      return split(path, parts, "/") > 1 ? parts[1] : ""
    }
    function complain(text) {
      if (task != "check") return
      print FILENAME ":" FNR ": " text
      failed = 1
    }
    FNR == 1 {
      own = FILENAME
      sub(/^(src|include)\//, "", own)
      own = room_of(own)
      if (!(own in floor)) complain("this file is in no room (" own "); tests/package/rooms.sh has the list")
    }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
      quoted = /include[ \t]*"/
      path = $0
      sub(/^[^"<]*["<]/, "", path)
      sub(/[">].*/, "", path)
      room = room_of(path)
      if (!(room in floor)) {
        if (quoted || path ~ /^warren\//) complain(own " includes " path ", which is in no room (" room ")")
        next
      }
      if (!quoted && path !~ /^warren\//) complain("a file of our own is included as \"" path "\"")
      if (room == own || !(own in floor)) next
      includes[own, room] = 1
      if (floor[room] > floor[own]) complain(own " includes " path ", which is in " room ": a room above")
      if (floor[room] == floor[own]) complain(own " includes " path ", which is in " room ": a neighbour")
    }
    END {
      if (task == "picture") {
        print "graph TD"
        for (i = count; i > 1; --i) {
          line = ""
          for (j = count; j >= 1; --j)
            if ((order[i], order[j]) in includes) line = line (line == "" ? "" : " & ") order[j]
          if (line != "") print "  " order[i] " --> " line
        }
      }
      exit failed
    }'
}

if [ "${1:-}" = --picture ]; then
  look picture
  exit
fi
failed=0
look check || failed=1
# The first picture of the page.
drawn=$(awk '/^```mermaid$/ { drawn = 1; next } /^```$/ && drawn { exit } drawn' CONTRIBUTING.md)
if [ "$drawn" != "$(look picture)" ]; then
  echo "CONTRIBUTING.md: the picture of the rooms is not today's. tests/package/rooms.sh --picture prints it:"
  look picture
  failed=1
fi
exit $failed
