package ec2

import (
	"context"
	"encoding/json"
	"errors"

	"eucad/api/ec2/wire"
	"eucad/api/query"
	"eucad/store"
	"eucad/store/cloud"
)

// modifyInstanceMetadataOptions changes how an instance may ask for its metadata.
func (s *Server) modifyInstanceMetadataOptions(ctx context.Context, in *wire.ModifyInstanceMetadataOptionsInput) (*wire.ModifyInstanceMetadataOptionsOutput, error) {
	want := wire.InstanceMetadataOptionsRequest{HttpEndpoint: in.HttpEndpoint, HttpProtocolIpv6: in.HttpProtocolIpv6,
		HttpPutResponseHopLimit: in.HttpPutResponseHopLimit, HttpTokens: in.HttpTokens, InstanceMetadataTags: in.InstanceMetadataTags}
	if want == (wire.InstanceMetadataOptionsRequest{}) {
		return nil, cloud.Faultf("MissingParameter", "The request must contain at least one metadata option.")
	}
	out := &wire.ModifyInstanceMetadataOptionsOutput{InstanceId: in.InstanceId}
	return out, s.modifyInstance(ctx, query.Val(in.InstanceId), func(tx store.Tx, i *cloud.Instance) error {
		if err := setMetadata(&i.Metadata, &want); err != nil {
			return err
		}
		if want.InstanceMetadataTags != nil {
			tags, err := tx.Tags(ctx, i.AccountID, "", i.ID)
			if err == nil {
				err = checkMetadataKeys(i.Metadata, tags)
			}
			if err != nil {
				return err
			}
		}
		out.InstanceMetadataOptions = wireMetadata(i.Metadata)
		return nil
	})
}

// modifyInstanceMaintenanceOptions sets whether an instance may be recovered elsewhere.
func (s *Server) modifyInstanceMaintenanceOptions(ctx context.Context, in *wire.ModifyInstanceMaintenanceOptionsInput) (*wire.ModifyInstanceMaintenanceOptionsOutput, error) {
	switch {
	case query.Val(in.RebootMigration) != "":
		return nil, unsupported("RebootMigration")
	case query.Val(in.AutoRecovery) == "": // not what it defaults to at launch
		return nil, missing("AutoRecovery")
	}
	off, err := noAutoRecovery(query.Val(in.AutoRecovery))
	if err != nil {
		return nil, err
	}
	out := &wire.ModifyInstanceMaintenanceOptionsOutput{InstanceId: in.InstanceId, AutoRecovery: wireMaintenance(off).AutoRecovery}
	return out, s.modifyInstance(ctx, query.Val(in.InstanceId), func(_ store.Tx, i *cloud.Instance) error {
		i.NoAutoRecovery = off
		return nil
	})
}

// describeInstanceCreditSpecifications tells the credit option of the named
// instances, which must be burstable, or those that are unlimited (EC2 docs:
// "DescribeInstanceCreditSpecifications").
func (s *Server) describeInstanceCreditSpecifications(ctx context.Context, in *wire.DescribeInstanceCreditSpecificationsInput) (*wire.DescribeInstanceCreditSpecificationsOutput, error) {
	named := len(in.InstanceIds) > 0
	if named && in.MaxResults != nil {
		return nil, cloud.Faultf("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	match, err := query.Compile(wire.Filters(in.Filters), query.Fields[*instanceItem]{"instance-id": instanceFilters["instance-id"]}, nil)
	if err != nil {
		return nil, err
	}
	items, err := s.selectInstances(ctx, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		if named && it.CreditSpec == "" {
			return nil, cloud.Faultf("InvalidParameterCombination", "The instance '%s' is of type %s, which has no CPU credits.", it.ID, it.Type)
		}
	}
	items = keep(keep(items, func(it *instanceItem) bool {
		return (named || it.CreditSpec == "unlimited") && it.State != cloud.Terminated
	}), match)
	page, next, err := query.Page(ctx, items, (*instanceItem).pageKey, in.MaxResults, in.NextToken, query.Thousand)
	if err != nil {
		return nil, err
	}
	out := &wire.DescribeInstanceCreditSpecificationsOutput{NextToken: next}
	for _, it := range page {
		out.InstanceCreditSpecifications = append(out.InstanceCreditSpecifications, wire.InstanceCreditSpecification{InstanceId: &it.ID, CpuCredits: &it.CreditSpec})
	}
	return out, nil
}

// modifyInstanceCreditSpecification sets the credit option of burstable
// instances; each succeeds or fails alone.
func (s *Server) modifyInstanceCreditSpecification(ctx context.Context, in *wire.ModifyInstanceCreditSpecificationInput) (*wire.ModifyInstanceCreditSpecificationOutput, error) {
	if len(in.InstanceCreditSpecifications) == 0 {
		return nil, missing("InstanceCreditSpecification")
	}
	const action = "ModifyInstanceCreditSpecification"
	acct, hash, token := account(ctx), query.RequestHash(ctx), query.Val(in.ClientToken)
	out := &wire.ModifyInstanceCreditSpecificationOutput{}
	err := s.DB.Write(ctx, func(tx store.Tx) error {
		*out = wire.ModifyInstanceCreditSpecificationOutput{}
		if token != "" {
			answer, found, err := tx.Idempotent(ctx, acct, action, token, hash)
			if err == nil && found {
				err = json.Unmarshal([]byte(answer), out)
			}
			if err != nil || found {
				return err
			}
		}
		for _, spec := range in.InstanceCreditSpecifications {
			if err := s.tryCredit(ctx, tx, spec, out); err != nil {
				return err
			}
		}
		if token != "" {
			answer, err := json.Marshal(out)
			if err == nil {
				err = tx.KeepToken(ctx, acct, action, token, hash, string(answer))
			}
			if err != nil {
				return err
			}
		}
		return tx.Audit(ctx)
	})
	return out, err
}

// tryCredit changes one instance, and notes in out how it went.
func (s *Server) tryCredit(ctx context.Context, tx store.Tx, spec wire.InstanceCreditSpecificationRequest, out *wire.ModifyInstanceCreditSpecificationOutput) error {
	id := query.Val(spec.InstanceId)
	err := s.setCredit(ctx, tx, id, query.Val(spec.CpuCredits))
	fault, _ := errors.AsType[*cloud.Fault](err)
	switch code := creditFault(err); {
	case err == nil:
		out.SuccessfulInstanceCreditSpecifications = append(out.SuccessfulInstanceCreditSpecifications, wire.SuccessfulInstanceCreditSpecificationItem{InstanceId: &id})
	case code == "":
		return err
	default:
		out.UnsuccessfulInstanceCreditSpecifications = append(out.UnsuccessfulInstanceCreditSpecifications, wire.UnsuccessfulInstanceCreditSpecificationItem{
			InstanceId: &id, Error: &wire.UnsuccessfulInstanceCreditSpecificationItemError{Code: &code, Message: &fault.Msg}})
	}
	return nil
}

func (s *Server) setCredit(ctx context.Context, tx store.Tx, id, credits string) error {
	if err := checkIDs("i", id); err != nil {
		return err
	}
	i, err := tx.Instance(ctx, account(ctx), id)
	if err != nil {
		return err
	}
	t, _ := s.Cfg.Types.Get(i.Type)
	if i.CreditSpec, err = creditSpec(&wire.CreditSpecificationRequest{CpuCredits: &credits}, t); err != nil {
		return err
	}
	if i.State == cloud.ShuttingDown || i.State == cloud.Terminated {
		return cloud.Faultf("IncorrectInstanceState", "The instance '%s' is %s.", id, i.State)
	}
	return tx.PutInstance(ctx, i)
}

// creditFault returns the code by which the answer lists an instance that
// could not be changed, "" when the whole call fails.
func creditFault(err error) string {
	switch code := cloud.FaultCode(err); code {
	case "InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound", "IncorrectInstanceState", "InstanceCreditSpecification.NotSupported":
		return code
	}
	return ""
}

// monitorInstances notes that instances want detailed monitoring.
func (s *Server) monitorInstances(ctx context.Context, in *wire.MonitorInstancesInput) (*wire.MonitorInstancesOutput, error) {
	out, err := s.setMonitoring(ctx, in.InstanceIds, true)
	return &wire.MonitorInstancesOutput{InstanceMonitorings: out}, err
}

// unmonitorInstances notes that instances no longer want it.
func (s *Server) unmonitorInstances(ctx context.Context, in *wire.UnmonitorInstancesInput) (*wire.UnmonitorInstancesOutput, error) {
	out, err := s.setMonitoring(ctx, in.InstanceIds, false)
	return &wire.UnmonitorInstancesOutput{InstanceMonitorings: out}, err
}

func (s *Server) setMonitoring(ctx context.Context, ids []string, on bool) ([]wire.InstanceMonitoring, error) {
	changes, err := s.changeStates(ctx, ids, func(_ store.Tx, i *cloud.Instance) (bool, error) {
		if i.State == cloud.ShuttingDown || i.State == cloud.Terminated {
			return false, cloud.Faultf("IncorrectInstanceState", "The instance '%s' is %s and cannot be monitored.", i.ID, i.State)
		}
		was := i.Monitoring
		i.Monitoring = on
		return was != on, nil
	})
	out := make([]wire.InstanceMonitoring, len(changes))
	for n, c := range changes {
		out[n] = wire.InstanceMonitoring{InstanceId: c.InstanceId, Monitoring: wireMonitoring(on)}
	}
	return out, err
}
