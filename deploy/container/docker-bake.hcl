# Both images: deploy/build.sh for each target first, then
#   docker buildx bake -f deploy/container/docker-bake.hcl
variable "TAG" {
  default = "ddrop:latest"
}

group "default" {
  targets = ["ddrop"]
}

target "ddrop" {
  context    = "target/dist"
  dockerfile = "../../deploy/container/Containerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
  tags       = [TAG]
  attest     = ["type=provenance,mode=max"]
}
