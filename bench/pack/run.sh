#!/bin/sh
# Runs the bench of this folder. Arguments are the bench's: ./run.sh --help
# ./run.sh all runs the whole of it, in slices that several calls may share: ./run.sh all --help
here=$(cd "$(dirname "$0")" && pwd)

# Containers may bring NVIDIA's driver without the file that tells the Vulkan loader of it.
if [ -z "$VK_ICD_FILENAMES$VK_DRIVER_FILES" ] && [ -e /dev/nvidia0 ] &&
  ! ls /etc/vulkan/icd.d/*.json /usr/share/vulkan/icd.d/*.json >/dev/null 2>&1; then
  export VK_ICD_FILENAMES="$here/nvidia_icd.json" VK_DRIVER_FILES="$here/nvidia_icd.json"
fi
export DAGUERRE_NO_FETCH=1
case $1 in
  all | --all) shift; set -- all "$@" ;;
  *) set -- --node "$@" ;;
esac
exec "$here/bin/node" "$here/.bench/node/start.js" "$@"
