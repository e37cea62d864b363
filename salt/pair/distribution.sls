{%- from 'pair/map.jinja' import node with context %}
# What the program on the node has to know of its distribution; see failback.host.distribution.
The node knows what its distribution calls things:
  file.serialize:
    - name: /etc/failback/distribution.json
    - serializer: json
    - dataset:
        libvirt_unit: {{ node.libvirt_unit }}
        nagios_configuration: {{ node.nagios_configuration }}
        nagios_unit: {{ node.nagios_unit }}
    - mode: '0600'
    - dir_mode: '0700'
    - makedirs: true
