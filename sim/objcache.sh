# Compiles as told, but Verilator's own sources once for all designs: make runs
#     sh objcache.sh COMPILER OPTION... -c -o OBJECT SOURCE
# $HWGEN_OBJECTS is a folder for one version of Verilator and of the compiler.
for source; do :; done
case $source in
"$VERILATOR_ROOT"/include/*.cpp) ;;
*) exec "$@" ;;
esac
object=${source##*/}
object=${object%.cpp}.o
kept=$HWGEN_OBJECTS/$object.$(printf '%s\n' "$@" | cksum | tr ' ' -)
if [ -f "$kept" ] && printf '%s\n' "$@" | cmp -s - "$kept.command"; then
    exec cp "$kept" "$object"
fi
"$@" || exit
mkdir -p "$HWGEN_OBJECTS"
# Renamed when whole: other processes do the same. What has the same sum goes first.
rm -f "$kept"
printf '%s\n' "$@" >"$kept.command.$$" && mv "$kept.command.$$" "$kept.command"
cp "$object" "$kept.$$" && mv "$kept.$$" "$kept"
