# yaml-language-server: $schema=../../docs/pair.schema.json
#
# The pair of the two servers of the shared software collection.
pairs:
  ssc:
    primary: {id: ssc1, host: 10.0.0.71}          # site
    secondary: {id: ssc2, host: 10.0.0.72}        # site
    replicate:
      - /srv/ssc                                  # site
    recovery:
      boot_timeout: 300                           # site
