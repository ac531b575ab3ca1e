# Configures and builds, quietly unless it fails.  Sourced by quickstart.sh and tests/run.sh.
# shellcheck shell=bash

# talweg_build SOURCE FOLDER TYPE [CMAKE ARGUMENT...]: fails with the end of the build's output.
talweg_build() {
    local source=$1 folder=$2 type=$3 generator=() log
    shift 3
    log=$folder/build.log
    mkdir -p "$folder"
    # A folder that was configured before keeps its generator.
    if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja > /dev/null; then
        generator=(-G Ninja)
    fi
    echo "building $type${*:+ ($*)} into $folder"
    if ! cmake -S "$source" -B "$folder" "${generator[@]}" -DCMAKE_BUILD_TYPE="$type" "$@" \
        > "$log" 2>&1 || ! cmake --build "$folder" --parallel "$(nproc)" >> "$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "the build failed; all of it is in $log" >&2
        return 1
    fi
}
