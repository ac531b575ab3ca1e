# Configures and builds, quietly unless it fails.  Sourced by quickstart.sh and tests/run.sh.
# shellcheck shell=bash

# talweg_build SOURCE FOLDER TYPE TARGETS [CMAKE ARGUMENT...]: TARGETS are words of one text, `all`
# for everything.  Fails with the end of the build's output.
talweg_build() {
    local source=$1 folder=$2 type=$3 targets generator=() log
    read -ra targets <<< "$4"
    shift 4
    log=$folder/build.log
    mkdir -p "$folder"
    # A folder that was configured before keeps its generator.
    if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja > /dev/null; then
        generator=(-G Ninja)
    fi
    echo "building $type${*:+ ($*)} into $folder"
    if ! cmake -S "$source" -B "$folder" "${generator[@]}" -DCMAKE_BUILD_TYPE="$type" "$@" \
        > "$log" 2>&1 ||
        ! cmake --build "$folder" --parallel "$(nproc)" --target "${targets[@]}" >> "$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "the build failed; all of it is in $log" >&2
        return 1
    fi
}
